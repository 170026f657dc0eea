// An ESME on node-smpp: binds, asks, sends a short and a long message, waits for their receipts and an MO, unbinds.
const smpp = require("smpp");

const [port, password, short, ...parts] = process.argv.slice(2);
const say = (on, more) => console.log(JSON.stringify({ on, ...more }));
const session = smpp.connect({ url: `smpp://127.0.0.1:${port}` });
let receipts = 0;

function heard(pdu) {
  session.send(pdu.response());
  const { message } = pdu.short_message;
  if (pdu.esm_class & 4) {
    say("receipt", { text: message.toString() });
    receipts += 1;
    if (receipts === 1 + parts.length) {
      say("receipts");
    }
    return;
  }
  say("mo", { text: message.toString(), from: pdu.source_addr });
  session.unbind({}, (answer) => {
    say("unbound", { status: answer.command_status });
    session.close();
  });
}

function submit(short_message, data_coding) {
  const addresses = { source_addr: "89000", destination_addr: "573001234567" };
  const fields = { ...addresses, registered_delivery: 1, data_coding, short_message };
  session.submit_sm(fields, (pdu) => say("answer", { id: pdu.message_id, status: pdu.command_status }));
}

session.on("deliver_sm", heard);
session.on("error", (error) => say("error", { text: String(error) }));
session.on("close", () => process.exit(0));
session.on("connect", () =>
  session.bind_transceiver({ system_id: "a", password }, (pdu) => {
    say("bound", { status: pdu.command_status });
    if (pdu.command_status) {
      session.close();
      return;
    }
    session.enquire_link({}, (answer) => say("alive", { status: answer.command_status }));
    submit(short, 0);
    parts.forEach((message, index) => {
      // Left to itself the library would choose an alphabet for each part.
      submit({ udh: Buffer.from([5, 0, 3, 7, parts.length, index + 1]), message }, 8);
    });
  }),
);
