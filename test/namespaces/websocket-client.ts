/** `node websocket-client.ts URL BYTES`: opens a WebSocket, sends a text and so many octets, and prints whether both came back. */
import { randomBytes } from 'node:crypto';

const [url, bytes] = [process.argv[2]!, Number(process.argv[3])];
const sent = randomBytes(bytes);
const socket = new WebSocket(url);
socket.binaryType = 'arraybuffer';
const received: (string | ArrayBuffer)[] = [];
socket.onopen = () => {
  socket.send('hello');
  socket.send(sent);
};
socket.onmessage = ({ data }) => {
  received.push(data);
  if (received.length === 2) socket.close(1000);
};
socket.onerror = () => console.log('refused');
socket.onclose = ({ code }) => {
  const [text, data] = received;
  const isWhole = data instanceof ArrayBuffer && Buffer.from(data).equals(sent);
  console.log(`text ${text}, octets ${isWhole ? 'the same' : 'not the same'}, closed ${code}`);
};
