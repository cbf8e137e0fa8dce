// What browsers, Node and undici do with their WebSocket; see sockets.py for what a visit is.

function unpack(message, times) {
  if (typeof message === "string") return message.repeat(times);
  const unit = Uint8Array.from(atob(message[0]), (char) => char.charCodeAt(0));
  const whole = new Uint8Array(unit.length * times);
  for (let at = 0; at < whole.length; at += unit.length) whole.set(unit, at);
  return whole;
}

function same(sent, answer) {
  if (typeof sent === "string") return answer === sent;
  if (!(answer instanceof ArrayBuffer)) return false;
  const bytes = new Uint8Array(answer);
  return bytes.length === sent.length && bytes.every((byte, index) => byte === sent[index]);
}

// Makes one visit and resolves with what was seen. `open` makes the WebSocket.
export function visit(open, { path, messages, close, times = 1, protocols = [] }) {
  return new Promise((resolve) => {
    const ws = open(path, protocols);
    const sent = messages.map((message) => unpack(message, times));
    const answers = [];
    ws.binaryType = "arraybuffer";
    ws.onopen = () => {
      for (const message of sent) ws.send(message);
    };
    ws.onmessage = ({ data }) => {
      const index = answers.length;
      answers.push(same(sent[index], data) ? messages[index] : `another: ${data}`.slice(0, 500));
      if (answers.length === messages.length) ws.close(...close);
    };
    ws.onclose = ({ code, reason, wasClean }) => {
      const deflate = ws.extensions.startsWith("permessage-deflate");
      const closed = wasClean ? [code, reason] : ["not clean", code, reason];
      resolve({ answers, protocol: ws.protocol, deflate, closed });
    };
  });
}

// One after the other, so that the server sees them in this order.
export async function visitAll(open, visits) {
  const told = [];
  for (const one of visits) told.push(await visit(open, one));
  return told;
}

export function openHere(path, protocols) {
  const url = new URL(path, globalThis.location);
  url.protocol = url.protocol.replace("http", "ws");
  return new WebSocket(url, protocols);
}
