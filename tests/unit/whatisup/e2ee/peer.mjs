// A foreign device: npm's libsignal and Baileys' group cipher, unmodified, driven by lines of JSON.
//
// Each line in is {"op", ...}; each line out is {"ok": ...} or {"error": "..."}. Bytes are hex. It keeps everything in
// memory, as objects, because Baileys cannot read its stored group message keys back.

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

const modules = process.argv[2];
const require = createRequire(join(modules, 'index.js'));
const { SessionBuilder, SessionCipher, ProtocolAddress, curve, keyhelper } = require('libsignal');
const group = await import(pathToFileURL(join(modules, '@whiskeysockets/baileys/lib/Signal/Group/index.js')));
console.log = console.info = console.warn = console.error = () => {};

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const unhex = (text) => Buffer.from(text, 'hex');

const identity = curve.generateKeyPair();
const signed = keyhelper.generateSignedPreKey(identity, 5);
const prekeys = new Map();
const sessions = new Map();
const registrationId = keyhelper.generateRegistrationId();
const storage = {
  loadSession: async (id) => sessions.get(id),
  storeSession: async (id, record) => void sessions.set(id, record),
  isTrustedIdentity: () => true,
  loadPreKey: async (id) => prekeys.get(Number(id)),
  removePreKey: async (id) => void prekeys.delete(Number(id)),
  loadSignedPreKey: async () => signed.keyPair,
  getOurRegistrationId: async () => registrationId,
  getOurIdentity: async () => identity,
};
const address = new ProtocolAddress('peer', 0);
const cipher = new SessionCipher(storage, address);

const senderKeys = new Map();
const senderStore = {
  loadSenderKey: async (name) => {
    if (!senderKeys.has(name.toString())) senderKeys.set(name.toString(), new group.SenderKeyRecord());
    return senderKeys.get(name.toString());
  },
  storeSenderKey: async (name, record) => void senderKeys.set(name.toString(), record),
};
const nameOf = (who) => new group.SenderKeyName('1@g.us', { id: who, deviceId: 0, toString: () => `${who}.0` });

const ops = {
  bundle: async ({ one_time }) => {
    const id = prekeys.size + 100;
    if (one_time) prekeys.set(id, keyhelper.generatePreKey(id).keyPair);
    return {
      registration_id: registrationId,
      identity: hex(identity.pubKey),
      signed_prekey_id: signed.keyId,
      signed_prekey: hex(signed.keyPair.pubKey),
      signature: hex(signed.signature),
      prekey_id: one_time ? id : null,
      prekey: one_time ? hex(prekeys.get(id).pubKey) : null,
    };
  },
  start: async ({ bundle }) => {
    await new SessionBuilder(storage, address).initOutgoing({
      registrationId: bundle.registration_id,
      identityKey: unhex(bundle.identity),
      signedPreKey: {
        keyId: bundle.signed_prekey_id,
        publicKey: unhex(bundle.signed_prekey),
        signature: unhex(bundle.signature),
      },
      preKey: bundle.prekey === null ? undefined : { keyId: bundle.prekey_id, publicKey: unhex(bundle.prekey) },
    });
  },
  encrypt: async ({ plaintext }) => {
    const { type, body } = await cipher.encrypt(unhex(plaintext));
    const bytes = typeof body === 'string' ? Buffer.from(body, 'binary') : body;
    return { kind: type === 3 ? 'pkmsg' : 'msg', ciphertext: hex(bytes) };
  },
  decrypt: async ({ kind, ciphertext }) => {
    const bytes = unhex(ciphertext);
    return hex(kind === 'pkmsg' ? await cipher.decryptPreKeyWhisperMessage(bytes) : await cipher.decryptWhisperMessage(bytes));
  },
  distribution: async () => hex((await new group.GroupSessionBuilder(senderStore).create(nameOf('me'))).serialize()),
  process: async ({ message }) => {
    const given = new group.SenderKeyDistributionMessage(null, null, null, null, unhex(message));
    await new group.GroupSessionBuilder(senderStore).process(nameOf('peer'), given);
  },
  encrypt_group: async ({ plaintext }) => hex(await new group.GroupCipher(senderStore, nameOf('me')).encrypt(unhex(plaintext))),
  decrypt_group: async ({ ciphertext }) => hex(await new group.GroupCipher(senderStore, nameOf('peer')).decrypt(unhex(ciphertext))),
};

const answer = (value) => process.stdout.write(JSON.stringify(value) + '\n');
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  try {
    answer({ ok: (await ops[request.op](request)) ?? null });
  } catch (error) {
    answer({ error: String(error.message ?? error) });
  }
}
