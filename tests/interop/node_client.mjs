// Node's http2 as a client: node node_client.mjs URL TASK; prints what it saw as JSON.
import { createHash } from "node:crypto";
import { once } from "node:events";
import http2 from "node:http2";
import { text } from "node:stream/consumers";

const [url, task] = process.argv.slice(2);
const PIECE = Buffer.alloc(65536, "node");

function digest(pieces) {
  const sha = createHash("sha256");
  for (const piece of pieces) sha.update(piece);
  return sha.digest("hex");
}

function post(session, path, options = {}) {
  return session.request({ ":path": path, ":method": "POST" }, options);
}

const tasks = {
  async request(session) {
    const stream = session.request({ ":path": "/hello" });
    const [headers] = await once(stream, "response");
    return { status: headers[":status"], body: await text(stream) };
  },

  async trailers(session) {
    const stream = post(session, "/trailers", { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "from-node": "at the end" }));
    let trailers;
    stream.on("trailers", (fields) => (trailers = { ...fields }));
    stream.end("some content");
    return { body: await text(stream), trailers };
  },

  async hints(session) {
    const stream = session.request({ ":path": "/hints" });
    const early = [];
    stream.on("headers", (fields) => early.push([fields[":status"], fields.link]));
    const [headers] = await once(stream, "response");
    stream.resume();
    await once(stream, "end");
    return { early, status: headers[":status"], link: headers.link };
  },

  async pushes(session) {
    const pushed = [];
    session.on("stream", (stream, request) => {
      const response = once(stream, "push");
      pushed.push((async () => {
        const [headers] = await response;
        const body = await text(stream);
        return [request[":path"], headers[":status"], body.split("\n")[0], body.length];
      })());
    });
    const stream = session.request({ ":path": "/pushes" });
    const body = await text(stream);
    return { body, pushed: await Promise.all(pushed) };
  },

  // Pushes that the client does not want: each is reset, the page comes all the same.
  async refusedPushes(session) {
    let refused = 0;
    session.on("stream", (stream) => {
      refused++;
      stream.close(http2.constants.NGHTTP2_CANCEL);
    });
    const body = await text(session.request({ ":path": "/pushes" }));
    return { body, refused, after: (await tasks.request(session)).status };
  },

  async large(session) {
    const pieces = new Array(64).fill(PIECE);
    const stream = post(session, "/echo");
    const sent = (async () => {
      for (const piece of pieces) {
        if (!stream.write(piece)) await once(stream, "drain");
      }
      stream.end();
    })();
    const received = [];
    for await (const piece of stream) received.push(piece);
    await sent;
    return { same: digest(pieces) === digest(received) };
  },

  // The answer comes before the content was sent, and counts (RFC 9113 8.1).
  async refusedUpload(session) {
    const stream = post(session, "/refuse");
    stream.end(Buffer.alloc(3000000));
    const [headers] = await once(stream, "response");
    return { status: headers[":status"], body: await text(stream) };
  },

  // By RST_STREAM, while the server sends.
  async cancelledDownload(session) {
    const stream = session.request({ ":path": "/blocks?100000" });
    await once(stream, "data");
    stream.close(http2.constants.NGHTTP2_CANCEL);
    await once(stream, "close");
    return { after: (await tasks.request(session)).status };
  },

  // With the whole connection, while the server receives.
  async abandonedUpload(session) {
    const stream = post(session, "/echo");
    stream.write("ping");
    const [answer] = await once(stream, "data");
    session.destroy();
    return { answer: answer.toString() };
  },

  // More than may run at once: Node keeps the others back until the server has room.
  async many(session) {
    const bodies = [];
    for (let n = 0; n < 250; n++) {
      bodies.push(text(session.request({ ":path": "/hello" })));
    }
    return [...new Set(await Promise.all(bodies))];
  },

  async ping(session) {
    return new Promise((resolve) => session.ping((error) => resolve({ error })));
  },
};

const session = http2.connect(url, { rejectUnauthorized: false });
await once(session, "connect");
session.on("goaway", (code) => console.error(`GOAWAY ${code}`));
console.log(JSON.stringify(await tasks[task](session)));
session.close();
