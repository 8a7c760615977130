// Many Baileys sessions in one process, each with its auth state in a folder of its own, driven by lines of JSON.
//
//   node --expose-gc driver.mjs wss://127.0.0.1:1234/ws/chat FOLDER      (NODE_EXTRA_CA_CERTS names the authority)
//   < {"do": "new", "id"} | {"do": "send", "run", "to": {id: JID}, "each", "rate": per second or null}
//     | {"do": "mark"} | {"do": "loop"} | {"do": "collect"}
//
// What happens is appended to FOLDER/events as lines of JSON:
//   {"event": "ready", "stored"} | {"event": "qr", "id", "qr"} | {"event": "open", "id"} | {"event": "close", "id", "code"}
//   | {"event": "sent", "run"} | {"event": "loop", "p99_ms", "max_ms"} | {"event": "collected"} | {"event": "error", "message"}
//   | {"event": "tally", "received", "acked", "delivered"}: how many more since the last of these
// A message that came in is a line "id session ms" of FOLDER/received, noted at its event once all auth state that was
// being saved then is saved; one that was sent is a line "id session begun accepted" of FOLDER/sent. Both times in unix
// milliseconds. Sessions that are stored connect by themselves at the start.
//
// The client is as its own example has it: useMultiFileAuthState behind makeCacheableSignalKeyStore, its defaults, and a
// new socket after every close that is not final.

import { monitorEventLoopDelay, performance } from 'node:perf_hooks'
import { appendFileSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { DisconnectReason, makeCacheableSignalKeyStore, makeWASocket, useMultiFileAuthState } from '@whiskeysockets/baileys'

const [url, folder] = process.argv.slice(2)
const FINAL = new Set([DisconnectReason.loggedOut, DisconnectReason.connectionReplaced, 403, 405, 406, 409])
const FLUSH_MS = 100 // so that notes are a write for many messages
const RETRY_MS = 1000 // and half as much more or less
const SENDERS = 8 // of a single session that goes flat out
const TICK_MS = 10

const sessions = new Map()
const auth = join(folder, 'auth')
mkdirSync(auth, { recursive: true })

const now = () => Date.now() // the clock that the sandbox reads too
const say = (event, more = {}) => appendFileSync(join(folder, 'events'), `${JSON.stringify({ event, ...more })}\n`)
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)))

const quiet = { level: 'silent', child: () => quiet }
for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal']) quiet[level] = () => {}
// Its Signal library writes about sessions.
for (const level of ['log', 'info', 'warn', 'error', 'debug']) console[level] = () => {}

// --- notes, kept for a moment

const notes = { received: [], sent: [] }
const tally = { received: 0, acked: 0, delivered: 0 }
let flushing

function later() {
  flushing ??= setTimeout(flush, FLUSH_MS)
}

function flush() {
  flushing = undefined
  for (const [name, lines] of Object.entries(notes)) {
    if (lines.length) appendFileSync(join(folder, name), `${lines.splice(0).join('\n')}\n`)
  }
  say('tally', tally)
  for (const name of Object.keys(tally)) tally[name] = 0
}

function count(what, more = 1) {
  tally[what] += more
  later()
}

// --- a session

async function open(id) {
  const saves = new Set()
  const saved = (promise) => {
    saves.add(promise)
    promise.finally(() => saves.delete(promise)).catch(() => {})
    return promise
  }
  const { state, saveCreds } = await useMultiFileAuthState(join(auth, id))
  const files = { get: state.keys.get, set: (data) => saved(state.keys.set(data)) }
  const session = { creds: state.creds, keys: makeCacheableSignalKeyStore(files, quiet), save: () => saved(saveCreds()), saves }
  sessions.set(id, session)
  connect(id, session)
}

function connect(id, session) {
  const { creds, keys } = session
  const socket = makeWASocket({ auth: { creds, keys }, waWebSocketUrl: url, logger: quiet })
  session.socket = socket
  socket.ev.on('creds.update', () => session.save())
  socket.ev.on('connection.update', ({ qr, connection, lastDisconnect }) => {
    if (qr) say('qr', { id, qr })
    if (connection === 'open') say('open', { id })
    if (connection !== 'close') return
    const code = lastDisconnect?.error?.output?.statusCode ?? null
    say('close', { id, code })
    if (FINAL.has(code)) return
    const after = code === DisconnectReason.restartRequired ? 0 : RETRY_MS * (0.5 + Math.random())
    setTimeout(() => connect(id, session), after)
  })
  socket.ev.on('messages.upsert', ({ messages }) => messages.forEach((message) => arrived(id, session, message)))
  // Its events leave acks out, and melt a receipt into a message that it has not told of yet; so count stanzas.
  socket.ws.on('CB:ack,class:message', ({ attrs }) => attrs.error || count('acked'))
  socket.ws.on('CB:receipt', ({ attrs, content }) => attrs.type || count('delivered', 1 + (content?.[0]?.content?.length ?? 0)))
}

async function arrived(id, session, { key, message }) {
  if (key.fromMe || !(message?.conversation ?? message?.extendedTextMessage)) return
  if (session.saves.size) await Promise.allSettled([...session.saves])
  notes.received.push(`${key.id} ${id} ${now()}`)
  count('received')
}

async function sendOne(id, to, text) {
  const begun = now()
  const { key } = await sessions.get(id).socket.sendMessage(to, { text })
  notes.sent.push(`${key.id} ${id} ${begun} ${now()}`)
  later()
}

async function sendPaced(id, to, each, rate, begin) {
  const under = []
  for (let index = 0; index < each; index++) {
    await pause(begin + (1000 * index) / rate - performance.now())
    under.push(sendOne(id, to, `text ${index}`))
  }
  await Promise.all(under)
}

async function sendInTurn(id, to, numbers) {
  for (const number of numbers) await sendOne(id, to, `text ${number}`)
}

// --- commands

const delay = monitorEventLoopDelay({ resolution: TICK_MS })

const commands = {
  new: ({ id }) => open(id),
  send: async ({ run, to, each, rate }) => {
    const chats = Object.entries(to)
    const begin = performance.now()
    const senders = chats.length === 1 ? SENDERS : 1
    const spread = (index) => begin + (1000 * index) / (rate * chats.length)
    const numbers = (sender) => Array.from({ length: each }, (_, index) => index).filter((index) => index % senders === sender)
    const under = rate
      ? chats.map(([id, jid], index) => sendPaced(id, jid, each, rate, spread(index)))
      : chats.flatMap(([id, jid]) => Array.from({ length: senders }, (_, sender) => sendInTurn(id, jid, numbers(sender))))
    await Promise.all(under)
    clearTimeout(flushing)
    flush()
    say('sent', { run })
  },
  mark: () => {
    delay.reset()
    delay.enable()
  },
  // The histogram holds the time between ticks; it costs a timer, so it only runs when somebody is to read it.
  loop: () => {
    delay.disable()
    const late = (ns) => Math.max(0, ns / 1e6 - TICK_MS)
    say('loop', { p99_ms: delay.count ? late(delay.percentile(99)) : 0, max_ms: delay.count ? late(delay.max) : 0 })
  },
  // What its cache would forget within five minutes is forgotten now, and what is garbage is collected.
  collect: async () => {
    for (const { keys } of sessions.values()) await keys.clear()
    for (let turn = 0; turn < 3; turn++) {
      globalThis.gc?.()
      await pause(50)
    }
    say('collected')
  }
}

process.on('uncaughtException', (error) => say('error', { message: String(error?.stack ?? error) }))
process.on('unhandledRejection', (error) => say('error', { message: String(error?.stack ?? error) }))

const lines = createInterface({ input: process.stdin })
lines.on('line', (line) => {
  const command = JSON.parse(line)
  Promise.resolve(commands[command.do](command)).catch((error) => say('error', { message: String(error?.stack ?? error) }))
})
lines.on('close', () => process.exit(0))

const stored = readdirSync(auth)
if (stored.length) delay.enable()
appendFileSync(join(folder, 'events'), '\n') // behind whatever a killed process had begun
say('ready', { stored: stored.length })
for (const id of stored) open(id)
