// Unmodified Baileys, driven by lines of JSON: what happens goes to stdout, what to do comes from stdin.
//
//   node companion.mjs ws://127.0.0.1:1234/ws/chat
//   < {"do": "connect"} | {"do": "pair_code", "phone": "999..."} | {"do": "logout"} | {"do": "cut"} | {"do": "leave"} | {"do": "wake"}
//     | {"do": "send", "to": JID, "content": what sendMessage takes, "quote": id, "id": id} | {"do": "forget", "jid": JID}
//     | {"do": "read", "id": id} | {"do": "typing", "to": JID, "state": "composing", ...}
//   > {"event": "qr", "qr"} | {"event": "code", "code"} | {"event": "linked"} | {"event": "open", "jid", "lid"}
//     | {"event": "close", "code"} | {"event": "idle"} | {"event": "error", "message"} | {"event": "sent", "id"}
//     | {"event": "awake"}
//     | {"event": "message", "id", "from", "fromMe", "live", "stub", "status", "text", "quoted", "message"}
//     | {"event": "typing", "from", "state"}
//     | {"event": "update", "id", "status", "stub", "text"} | {"event": "reaction", "id", "emoji"}
//     | {"event": "vote", "poll": id, "options"}
//
// "wake" makes it available, so that its receipts give the second tick; it does so by itself where its phone had told it
// its name before it was let in, else never. "leave" closes for good until "connect"; "forget" drops the sessions with a user; a `key` in a content is an id.
// After a close it connects again by itself where a gateway built on Baileys would: after 515, a lost socket, a 5xx.

import { createHash } from 'node:crypto'
import { createInterface } from 'node:readline'
import { DisconnectReason, decryptPollVote, initAuthCreds, jidNormalizedUser, makeWASocket } from '@whiskeysockets/baileys'

const url = process.argv[2]
const FINAL = new Set([DisconnectReason.loggedOut, DisconnectReason.connectionReplaced, 403, 405, 406, 409])
const creds = initAuthCreds()
const stored = new Map()
const known = new Map() // messages by id, as a client keeps them for retries, quotes and polls
let socket
let isLeaving = false

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

// Its Signal library writes about sessions to stdout, which is ours.
for (const level of ['log', 'info', 'warn', 'error', 'debug']) console[level] = () => {}

function connect() {
  isLeaving = false
  const getMessage = async ({ id }) => known.get(id)?.message
  socket = makeWASocket({ auth: { creds, keys }, waWebSocketUrl: url, logger: quiet, getMessage })
  talk(socket)
  socket.ev.on('creds.update', (update) => Object.assign(creds, update))
  socket.ev.on('connection.update', (update) => {
    if (update.qr) say('qr', { qr: update.qr })
    if (update.isNewLogin) say('linked')
    if (update.receivedPendingNotifications) say('idle')
    if (update.connection === 'open') say('open', { jid: creds.me.id, lid: creds.me.lid })
    if (update.connection === 'close') {
      const code = update.lastDisconnect?.error?.output?.statusCode ?? null
      say('close', { code })
      if (!FINAL.has(code) && !isLeaving) setTimeout(connect, 50)
    }
  })
}

const textOf = (message) => message?.conversation ?? message?.extendedTextMessage?.text ?? null
const hex = (key, value) => (value?.type === 'Buffer' ? Buffer.from(value.data).toString('hex') : value)

function talk(socket) {
  socket.ev.on('messages.upsert', ({ messages, type }) => {
    for (const one of messages) {
      const { key, message } = one
      if (message) known.set(key.id, one)
      const quoted = message?.extendedTextMessage?.contextInfo?.stanzaId ?? null
      const shown = message ? JSON.parse(JSON.stringify(message, hex)) : null
      const status = one.status ?? null
      const more = { stub: one.messageStubType ?? null, status, text: textOf(message), quoted, message: shown }
      if (message?.pollUpdateMessage) vote(key, message.pollUpdateMessage)
      say('message', { id: key.id, from: key.remoteJid, fromMe: key.fromMe, live: type === 'notify', ...more })
    }
  })
  socket.ev.on('messages.update', (updates) => {
    for (const { key, update } of updates) {
      const text = textOf(update.message?.editedMessage?.message)
      say('update', { id: key.id, status: update.status ?? null, stub: update.messageStubType ?? null, text })
    }
  })
  socket.ev.on('presence.update', ({ id, presences }) => {
    for (const one of Object.values(presences)) say('typing', { from: id, state: one.lastKnownPresence })
  })
  socket.ev.on('messages.reaction', (reactions) => {
    for (const { key, reaction } of reactions) say('reaction', { id: key.id, emoji: reaction.text })
  })
}

// Baileys leaves it to its user to open a vote; here both go by the names of a chat that is addressed by number.
function vote(key, { pollCreationMessageKey, vote }) {
  const { messageContextInfo, pollCreationMessageV3 } = known.get(pollCreationMessageKey.id).message
  const { selectedOptions } = decryptPollVote(vote, {
    pollCreatorJid: jidNormalizedUser(creds.me.id),
    pollMsgId: pollCreationMessageKey.id,
    pollEncKey: messageContextInfo.messageSecret,
    voterJid: jidNormalizedUser(key.remoteJid)
  })
  const hashes = selectedOptions.map((hash) => Buffer.from(hash).toString('hex'))
  const chosen = pollCreationMessageV3.options
    .map(({ optionName }) => optionName)
    .filter((name) => hashes.includes(createHash('sha256').update(name).digest('hex')))
  say('vote', { poll: pollCreationMessageKey.id, options: chosen })
}

function withKeys(content) {
  const filled = { ...content }
  for (const name of ['edit', 'delete']) if (filled[name]) filled[name] = known.get(filled[name]).key
  if (filled.react) filled.react = { ...filled.react, key: known.get(filled.react.key).key }
  return filled
}

const commands = {
  send: async ({ to, content, quote, id }) => {
    const options = { ...(quote ? { quoted: known.get(quote) } : {}), ...(id ? { messageId: id } : {}) }
    const sent = await socket.sendMessage(to, withKeys(content), options)
    known.set(sent.key.id, sent)
    say('sent', { id: sent.key.id })
  },
  typing: ({ to, state }) => socket.sendPresenceUpdate(state, to),
  wake: async () => {
    while (!creds.me?.name) await new Promise((resolve) => setTimeout(resolve, 20))
    await socket.sendPresenceUpdate('available')
    say('awake')
  },
  read: ({ id }) => socket.readMessages([known.get(id).key]),
  forget: ({ jid }) => {
    for (const name of stored.keys()) if (name.startsWith('session-') && name.includes(jid)) stored.delete(name)
    say('forgot')
  },
  leave: () => {
    isLeaving = true
    socket.end(undefined)
  },
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
