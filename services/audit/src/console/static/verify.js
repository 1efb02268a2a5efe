// Checks one entry in the browser: its bytes, its place in the tree, and who signed the tree.
//
// Nothing here trusts what the page says: the fields shown are compared with the canonical bytes, the bytes are hashed to
// the root of a checkpoint (RFC 6962), and the checkpoint must carry the log's signature and the witness's cosignature
// (C2SP signed-note, tlog-checkpoint, tlog-cosignature). The keys are those in the two fields of the page: compare them
// with those you keep, or put yours in.
'use strict';

const MAX_BYTES = 1 << 20;

class Wrong extends Error {}

function need(so, why) {
  if (!so) throw new Wrong(why);
}

// ---- bytes

const utf8 = (text) => new TextEncoder().encode(text);

function concat(...parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function unhex(text) {
  need(/^([0-9a-f]{2})*$/.test(text) && text.length <= 2 * MAX_BYTES, 'hex');
  return Uint8Array.from(text.match(/../g) || [], (pair) => parseInt(pair, 16));
}

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

function unbase64(text) {
  need(/^[A-Za-z0-9+/]*={0,2}$/.test(text) && text.length % 4 === 0 && text.length <= MAX_BYTES, 'base64');
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  need(btoa(String.fromCharCode(...bytes)) === text, 'base64 is not canonical');
  return bytes;
}

const same = (a, b) => a.length === b.length && a.every((byte, place) => byte === b[place]);

const sha256 = async (...parts) => new Uint8Array(await crypto.subtle.digest('SHA-256', concat(...parts)));

// ---- canonical bytes: CBOR, definite lengths only

function decodeCbor(bytes) {
  let at = 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  function argument(info) {
    if (info < 24) return BigInt(info);
    const width = { 24: 1, 25: 2, 26: 4, 27: 8 }[info];
    need(width && at + width <= bytes.length, 'CBOR length');
    let value = 0n;
    for (let i = 0; i < width; i += 1) value = (value << 8n) | BigInt(bytes[at + i]);
    at += width;
    return value;
  }
  function item(depth) {
    need(depth < 8 && at < bytes.length, 'CBOR ends early');
    const first = bytes[at];
    at += 1;
    const major = first >> 5;
    const info = first & 31;
    if (major === 7) {
      if (info === 20 || info === 21) return info === 21;
      need(info === 22 || info === 23, 'CBOR simple value');
      return null;
    }
    const value = argument(info);
    if (major === 0) return value;
    if (major === 1) return -1n - value;
    const count = Number(value);
    need(major <= 4 && count <= bytes.length - at, 'CBOR type');
    if (major === 4) return Array.from({ length: count }, () => item(depth + 1));
    const taken = bytes.subarray(at, at + count);
    at += count;
    return major === 2 ? taken : new TextDecoder('utf-8', { fatal: true }).decode(taken);
  }
  const value = item(0);
  need(at === bytes.length && view.byteLength === at, 'CBOR goes on');
  return value;
}

// ---- an entry as a page shows it

// Nobody's clocks move in Japan: UTC + 9 hours, always.
function inTokyo(millis) {
  return new Date(Number(millis) + 9 * 3600 * 1000).toISOString().slice(0, 19).replace('T', ' ');
}

function fields(entry, codes) {
  need(Array.isArray(entry) && entry.length === 2 && entry.every(Array.isArray), 'not an entry');
  const [common, own] = entry;
  const text = (value) => (value === null || value === undefined ? '' : value instanceof Uint8Array ? hex(value) : `${value}`);
  const code = (name, value) => {
    if (value === null || value === undefined) return '';
    const found = codes[name][`${value}`];
    need(found !== undefined, `unknown ${name}`);
    return found;
  };
  // Request ids are shown as the UUIDs that they are.
  const uuid = (value) => text(value).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  const details = (own[10] || []).map(([key, value]) => `${code('detail', key)}: ${value}`);
  return {
    sequence: text(own[0]),
    time: inTokyo(common[0]),
    tenant: text(common[1]),
    action: code('action', common[2]),
    decision: code('decision', own[1]),
    reason: code('reason', own[2]),
    caller: text(common[3]),
    end_user: text(common[4]),
    job: text(common[15]),
    purpose: text(common[5]),
    subject: text(own[3]),
    principal: text(own[11]),
    kind: code('kind', own[4]),
    record: text(own[5]),
    scope: text(own[6]),
    relation: code('relation', own[7]),
    work_reference: text(common[6]),
    policy_version: text(common[7]),
    grant: text(common[9]),
    request_id: uuid(common[10]),
    trace_id: text(common[11]),
    source_zone: text(common[22]),
    recipient: text(common[24]),
    budget: own[9] ? `${own[8] || 0n} / ${own[9]}` : '',
    detail: details.sort().join('\n'),
  };
}

function compare(shown, said) {
  for (const place of shown.querySelectorAll('[data-field]')) need(place.dataset.field in said, place.dataset.field);
  for (const [name, value] of Object.entries(said)) {
    const place = shown.querySelector(`[data-field="${name}"]`);
    const text = place ? place.textContent : '';
    need(text === value, `${name}: ${text || '—'} ≠ ${value || '—'}`);
  }
}

// ---- tree

// RFC 9162 section 2.1.3.2.
async function rootFrom(leaf, index, size, path) {
  need(index >= 0n && index < size, 'the entry is not in the tree');
  let node = index;
  let last = size - 1n;
  let root = leaf;
  for (const sibling of path) {
    need(last !== 0n && sibling.length === 32, 'the path is too long');
    if ((node & 1n) === 1n || node === last) {
      root = await sha256(Uint8Array.of(1), sibling, root);
      while ((node & 1n) === 0n && node !== 0n) {
        node >>= 1n;
        last >>= 1n;
      }
    } else {
      root = await sha256(Uint8Array.of(1), root, sibling);
    }
    node >>= 1n;
    last >>= 1n;
  }
  need(last === 0n, 'the path is too short');
  return root;
}

// ---- signed notes

async function readKey(text, type) {
  const [name, id, ...rest] = text.trim().split('+');
  need(name && id && rest.length > 0, 'key: not of the form name+id+key');
  const key = unbase64(rest.join('+'));
  need(key.length === 33 && key[0] === type, 'key: of another type');
  const hash = await sha256(utf8(name), utf8('\n'), key);
  need(hex(hash.subarray(0, 4)) === id, 'key: name, id and key do not belong together');
  const imported = await crypto.subtle.importKey('raw', key.subarray(1), { name: 'Ed25519' }, false, ['verify']);
  return { name, id, imported };
}

function readNote(note) {
  const cut = note.lastIndexOf('\n\n');
  need(cut > 0 && note.endsWith('\n') && note.length <= MAX_BYTES, 'checkpoint: not a signed note');
  const signatures = note.slice(cut + 2, -1).split('\n').map((line) => {
    const parts = line.split(' ');
    need(parts.length === 3 && parts[0] === '\u2014', 'checkpoint: malformed signature line');
    const bytes = unbase64(parts[2]);
    return { name: parts[1], id: hex(bytes.subarray(0, 4)), signature: bytes.subarray(4) };
  });
  const text = note.slice(0, cut + 1);
  const lines = text.slice(0, -1).split('\n');
  need(lines.length >= 3 && /^(0|[1-9][0-9]*)$/.test(lines[1]), 'checkpoint: malformed');
  const root = unbase64(lines[2]);
  need(root.length === 32, 'checkpoint: malformed root');
  return { text, signatures, origin: lines[0], size: BigInt(lines[1]), root };
}

async function signedBy(note, key, message) {
  const own = note.signatures.filter((line) => line.name === key.name && line.id === key.id);
  need(own.length > 0, `no signature of ${key.name}`);
  for (const line of own) {
    const [signature, signed] = message(line.signature);
    const good = await crypto.subtle.verify({ name: 'Ed25519' }, key.imported, signature, signed);
    need(good, `a signature of ${key.name} is wrong`);
  }
  return own;
}

function seen(signature) {
  need(signature.length === 72, 'cosignature: malformed');
  return new DataView(signature.buffer, signature.byteOffset, 8).getBigUint64(0);
}

// ---- the steps, as the page lists them

async function steps(proof, codes, shown, keys) {
  const canonical = unhex(proof.canonical);
  const note = readNote(proof.checkpoint);
  let said;
  return [
    ['bytes', async () => {
      said = fields(decodeCbor(canonical), codes);
      need(said.sequence === shown.dataset.sequence, 'another entry than the one asked for');
      compare(shown, said);
      return '';
    }],
    ['path', async () => {
      const leaf = await sha256(Uint8Array.of(0), canonical);
      const root = await rootFrom(leaf, BigInt(shown.dataset.sequence), note.size, proof.path.map(unhex));
      need(same(root, note.root), 'the path does not lead to the signed root');
      return `${hex(leaf).slice(0, 16)}… → ${hex(root).slice(0, 16)}… (${proof.path.length}, ${note.size})`;
    }],
    ['log', async () => {
      const key = await readKey(keys.log, 1);
      need(note.origin === key.name, 'the checkpoint is of another log');
      await signedBy(note, key, (signature) => [signature, utf8(note.text)]);
      return key.name;
    }],
    ['witness', async () => {
      const key = await readKey(keys.witness, 4);
      const own = await signedBy(note, key, (signature) => {
        const message = `cosignature/v1\ntime ${seen(signature)}\n${note.text}`;
        return [signature.subarray(8), utf8(message)];
      });
      const times = own.map((line) => seen(line.signature));
      const newest = times.reduce((a, b) => (a > b ? a : b));
      return `${key.name}, ${inTokyo(newest * 1000n)}`;
    }],
  ];
}

function mark(item, state, words) {
  item.className = state;
  item.querySelector('.state').textContent = item.closest('[data-pass]').dataset[state] || '';
  item.querySelector('.found').textContent = words;
}

function judge(verdict, state, words) {
  verdict.className = `verdict ${state}`;
  verdict.setAttribute('role', state === 'pass' ? 'status' : 'alert');
  verdict.textContent = words ? `${verdict.dataset[state]} ${words}` : verdict.dataset[state];
}

async function fetched(address) {
  const answer = await fetch(address, { credentials: 'same-origin', cache: 'no-store' });
  need(answer.ok, `${address}: ${answer.status}`);
  return answer.json();
}

async function verify() {
  const shown = document.getElementById('entry');
  const verdict = document.getElementById('verdict');
  const list = document.getElementById('steps');
  judge(verdict, 'pending', '');
  for (const item of list.children) mark(item, 'pending', '');
  let failed = '';
  try {
    need(window.crypto && crypto.subtle, 'WebCrypto');
    const [proof, codes] = await Promise.all([fetched(shown.dataset.proof), fetched('/static/codes.json')]);
    const keys = { log: document.getElementById('log-key').value, witness: document.getElementById('witness-key').value };
    for (const [name, check] of await steps(proof, codes, shown, keys)) {
      const item = list.querySelector(`[data-step="${name}"]`);
      try {
        mark(item, 'pass', await check());
      } catch (error) {
        failed = failed || error.message || error.name;
        mark(item, 'fail', error.message || error.name);
      }
    }
  } catch (error) {
    failed = failed || error.message || error.name;
    for (const item of list.children) mark(item, 'fail', '');
  }
  document.documentElement.classList.toggle('doctored', failed !== '');
  judge(verdict, failed ? 'fail' : 'pass', failed);
}

document.getElementById('check').addEventListener('click', verify);
// Of an earlier ledger the page has no key: there is nothing to check until somebody pastes his.
if (document.getElementById('log-key').value) verify();
else judge(document.getElementById('verdict'), 'pending', '');
