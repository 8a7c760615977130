// Unmodified Baileys, driven by lines of JSON: what happens goes to stdout, what to do comes from stdin.
//
//   node companion.mjs ws://127.0.0.1:1234/ws/chat
//   < {"do": "connect"} | {"do": "pair_code", "phone": "999..."} | {"do": "logout"} | {"do": "cut"}
//   > {"event": "qr", "qr"} | {"event": "code", "code"} | {"event": "linked"} | {"event": "open", "jid", "lid"}
//     | {"event": "close", "code"} | {"event": "idle"} | {"event": "error", "message"}
//
// After a close it connects again by itself where a gateway built on Baileys would: after 515, a lost socket, a 5xx.

import { createInterface } from 'node:readline'
import { DisconnectReason, initAuthCreds, makeWASocket } from '@whiskeysockets/baileys'

const url = process.argv[2]
const FINAL = new Set([DisconnectReason.loggedOut, DisconnectReason.connectionReplaced, 403, 405, 406, 409])
const creds = initAuthCreds()
const stored = new Map()
let socket

const say = (event, more = {}) => process.stdout.write(`${JSON.stringify({ event, ...more })}\n`)

// Keys live in this process alone; a null value deletes, as Baileys means it.
const keys = {
  get: async (type, ids) =>
    Object.fromEntries(ids.filter((id) => stored.has(`${type}-${id}`)).map((id) => [id, stored.get(`${type}-${id}`)])),
  set: async (data) => {
    for (const [type, values] of Object.entries(data)) {
      for (const [id, value] of Object.entries(values)) {
        if (value === null || value === undefined) stored.delete(`${type}-${id}`)
        else stored.set(`${type}-${id}`, value)
      }
    }
  }
}

const quiet = { level: 'silent', child: () => quiet }
for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal']) quiet[level] = () => {}

function connect() {
  socket = makeWASocket({ auth: { creds, keys }, waWebSocketUrl: url, logger: quiet })
  socket.ev.on('creds.update', (update) => Object.assign(creds, update))
  socket.ev.on('connection.update', (update) => {
    if (update.qr) say('qr', { qr: update.qr })
    if (update.isNewLogin) say('linked')
    if (update.receivedPendingNotifications) say('idle')
    if (update.connection === 'open') say('open', { jid: creds.me.id, lid: creds.me.lid })
    if (update.connection === 'close') {
      const code = update.lastDisconnect?.error?.output?.statusCode ?? null
      say('close', { code })
      if (!FINAL.has(code)) setTimeout(connect, 50)
    }
  })
}

const commands = {
  connect,
  pair_code: async ({ phone }) => say('code', { code: await socket.requestPairingCode(phone) }),
  logout: () => socket.logout(),
  cut: () => socket.ws.socket.terminate()
}

process.on('uncaughtException', (error) => say('error', { message: String(error) }))
process.on('unhandledRejection', (error) => say('error', { message: String(error) }))

const lines = createInterface({ input: process.stdin })
lines.on('line', (line) => {
  const command = JSON.parse(line)
  Promise.resolve(commands[command.do](command)).catch((error) => say('error', { message: String(error) }))
})
lines.on('close', () => process.exit(0))
