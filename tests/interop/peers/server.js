// An SMSC on node-smpp: answers with ids 1, 2, 3 … and their receipts, says what it heard as lines of JSON.
const smpp = require("smpp");

const say = (on, more) => console.log(JSON.stringify({ on, ...more }));
const REFUSED = "573000000000";
const TALKS = "573009999999";
let ids = 0;

function receipt(session, pdu, id) {
  const text = `id:${id} sub:001 dlvrd:001 submit date:2701150800 done date:2701150801 stat:DELIVRD err:000 text:`;
  const addresses = { source_addr: pdu.destination_addr, destination_addr: pdu.source_addr };
  session.deliver_sm({ ...addresses, esm_class: 4, short_message: text }, (answer) =>
    say("receipt answered", { status: answer.command_status }),
  );
}

function submitted(session, pdu) {
  const { udh, message } = pdu.short_message;
  const part = udh ? udh[0][udh[0].length - 1] : 1;
  say("submit", { to: pdu.destination_addr, text: message.toString(), part, data_coding: pdu.data_coding });
  if (pdu.destination_addr === REFUSED) {
    session.send(pdu.response({ command_status: smpp.ESME_RINVDSTADR }));
    return;
  }
  ids += 1;
  session.send(pdu.response({ message_id: String(ids) }));
  receipt(session, pdu, ids);
  if (pdu.destination_addr === TALKS) {
    const addresses = { source_addr: TALKS, destination_addr: pdu.source_addr };
    session.deliver_sm({ ...addresses, short_message: "Sí, ¡gracias! ☺" }, () => say("mo answered"));
  }
}

const server = smpp.createServer((session) => {
  session.on("error", () => {});
  session.on("bind_transceiver", (pdu) => {
    const known = pdu.password === "secret";
    session.send(pdu.response(known ? { system_id: "node" } : { command_status: smpp.ESME_RINVPASWD }));
    if (known) {
      say("bind", { system_id: pdu.system_id });
      session.enquire_link({}, (answer) => say("alive", { status: answer.command_status }));
    }
  });
  session.on("enquire_link", (pdu) => {
    session.send(pdu.response());
    say("enquire_link");
  });
  session.on("submit_sm", (pdu) => submitted(session, pdu));
  session.on("unbind", (pdu) => {
    session.send(pdu.response());
    session.close();
    say("unbind");
  });
});
server.listen(Number(process.argv[2]), "127.0.0.1", () => say("listening"));
