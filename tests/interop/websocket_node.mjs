// WebSockets of Node: node websocket_node.mjs KIND URL; visits on stdin, what was seen on stdout.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import http2 from "node:http2";
import { createRequire } from "node:module";
import { json } from "node:stream/consumers";
import { visitAll } from "./websocket_client.mjs";

const [kind, url] = process.argv.slice(2);
const webSocketUrl = (path) => new URL(path, url.replace(/^http/, "ws"));

function encode(opcode, payload) {
  const length = payload.length;
  const head = Buffer.from([128 | opcode, 128 | (length < 126 ? length : length < 65536 ? 126 : 127)]);
  const size = Buffer.alloc(length < 126 ? 0 : length < 65536 ? 2 : 8);
  if (size.length === 2) size.writeUInt16BE(length);
  if (size.length === 8) size.writeBigUInt64BE(BigInt(length));
  const mask = randomBytes(4);
  const masked = Buffer.from(payload, "utf8").map((byte, index) => byte ^ mask[index % 4]);
  return Buffer.concat([head, size, mask, masked]);
}

// Takes the frames, all of them whole messages, off the front of a buffer; returns the rest.
function decode(buffer, take) {
  for (;;) {
    if (buffer.length < 2) return buffer;
    let [length, head] = [buffer[1], 2];
    if (length > 125) head = length === 126 ? 4 : 10;
    if (buffer.length < head) return buffer;
    if (head === 4) length = buffer.readUInt16BE(2);
    if (head === 10) length = Number(buffer.readBigUInt64BE(2));
    if (buffer.length < head + length) return buffer;
    take(buffer[0], buffer.subarray(head, head + length));
    buffer = buffer.subarray(head + length);
  }
}

// As much of a WebSocket as visits need, on a stream of node:http2 (RFC 8441).
class StreamWebSocket {
  extensions = "";
  #closed = [1006, ""];

  constructor(session, path, protocols) {
    const fields = {
      ":method": "CONNECT",
      ":protocol": "websocket",
      ":path": path,
      "sec-websocket-version": "13",
    };
    if (protocols.length) fields["sec-websocket-protocol"] = protocols.join(", ");
    this.stream = session.request(fields, { endStream: false });
    this.stream.on("response", (headers) => {
      this.protocol = headers["sec-websocket-protocol"] ?? "";
      if (headers[":status"] === 200) this.onopen();
    });
    let rest = Buffer.alloc(0);
    this.stream.on("data", (data) => {
      rest = decode(Buffer.concat([rest, data]), (first, payload) => this.#take(first, payload));
    });
    // The server ends the stream, once both have sent a Close.
    this.stream.on("end", () => {
      this.stream.end();
      const [code, reason] = this.#closed;
      this.onclose({ code, reason, wasClean: code !== 1006 });
    });
  }

  #take(first, payload) {
    if (first === 0x81) this.onmessage({ data: payload.toString() });
    if (first === 0x82) this.onmessage({ data: new Uint8Array(payload).buffer });
    if (first === 0x88) {
      this.#closed = payload.length ? [payload.readUInt16BE(), payload.toString("utf8", 2)] : [1005, ""];
      if (!this.closing) this.stream.write(encode(8, payload));
    }
  }

  send(message) {
    const text = typeof message === "string";
    this.stream.write(encode(text ? 1 : 2, Buffer.from(message)));
  }

  close(code, reason = "") {
    this.closing = true;
    const payload = code ? Buffer.from(`xx${reason}`) : Buffer.alloc(0);
    if (code) payload.writeUInt16BE(code);
    this.stream.write(encode(8, payload));
  }
}

const kinds = {
  global: async (visits) =>
    visitAll((path, protocols) => new WebSocket(webSocketUrl(path), protocols), visits),

  async undici(visits, allowH2 = false) {
    const { Agent, WebSocket } = createRequire(import.meta.url)("undici");
    // In clear no ALPN tells which HTTP it is to be.
    const dispatcher = new Agent({ allowH2, useH2c: allowH2 });
    const told = await visitAll(
      (path, protocols) => new WebSocket(webSocketUrl(path), { protocols, dispatcher }), visits);
    await dispatcher.close();
    return told;
  },

  undiciOverHttp2: (visits) => kinds.undici(visits, true),

  async http2(visits) {
    const session = http2.connect(url);
    const [settings] = await once(session, "remoteSettings");
    if (!settings.enableConnectProtocol) throw new Error("no SETTINGS_ENABLE_CONNECT_PROTOCOL");
    const told = await visitAll(
      (path, protocols) => new StreamWebSocket(session, path, protocols), visits);
    session.close();
    return told;
  },
};

console.log(JSON.stringify(await kinds[kind](await json(process.stdin))));
