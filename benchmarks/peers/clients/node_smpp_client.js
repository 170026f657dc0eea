// node-smpp as its README has it: https://github.com/farhadi/node-smpp, "Creating a SMPP session", "Shortcut methods".
// It has neither a window nor long messages: both are here.
'use strict';

const fs = require('fs');
const readline = require('readline');
const smpp = require('smpp');

const [port, systemId, password, sender, window, file] = process.argv.slice(2);
const messages = JSON.parse(fs.readFileSync(file));
const seen = { submitted: 0, answered: 0, receipts: 0, last_at: 0 };
let sent = 0;
let reference = 0;

function* parts(text) {
  if (text.length <= 160) {
    yield { message: text, esmClass: 0 };
    return;
  }
  reference = (reference + 1) & 0xff;
  const count = Math.ceil(text.length / 153);
  for (let number = 1; number <= count; number++) {
    const udh = Buffer.from([5, 0, 3, reference, count, number]);
    yield { message: { udh, message: text.slice((number - 1) * 153, number * 153) }, esmClass: 0x40 };
  }
}

function* submissions(until) {
  for (const [to, text] of messages) {
    if (Date.now() > until) return;
    for (const part of parts(text)) {
      yield {
        source_addr: sender,
        dest_addr_ton: 1,
        dest_addr_npi: 1,
        destination_addr: to,
        esm_class: part.esmClass,
        registered_delivery: 1,
        data_coding: 0,
        short_message: part.message,
      };
    }
    seen.submitted++;
  }
}

const session = smpp.connect({ url: `smpp://127.0.0.1:${port}`, auto_enquire_link_period: 10000 });
let waiting = null;

function fill() {
  while (waiting && sent - seen.answered < Number(window)) {
    const next = waiting.next();
    if (next.done) {
      waiting = null;
      break;
    }
    sent++;
    session.submit_sm(next.value, answered);
  }
}

function answered() {
  seen.answered++;
  fill();
}

session.on('deliver_sm', (pdu) => {
  session.send(pdu.response());
  seen.receipts++;
  seen.last_at = Date.now() / 1000;
});

session.on('connect', () => {
  session.bind_transceiver({ system_id: systemId, password }, () => {
    console.log('ready');
    readline.createInterface({ input: process.stdin }).once('line', (seconds) => {
      waiting = submissions(Date.now() + Number(seconds) * 1000);
      fill();
      let last = -1;
      let quiet = 0;
      const watch = setInterval(() => {
        quiet = seen.receipts === last ? quiet + 1 : 0;
        last = seen.receipts;
        if (!waiting && (seen.receipts >= sent || quiet > 500)) {
          clearInterval(watch);
          console.log(JSON.stringify(seen));
        }
      }, 20);
    });
  });
});
