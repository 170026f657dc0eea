// An SMSC and an ESME on jSMPP; both say what they heard as lines of JSON.
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicInteger;
import org.jsmpp.bean.*;
import org.jsmpp.extra.*;
import org.jsmpp.session.*;
import org.jsmpp.util.MessageId;

public class Jsmpp {
    static final String REFUSED = "573000000000", TALKS = "573009999999";
    static final TypeOfNumber TON = TypeOfNumber.UNKNOWN;
    static final NumberingPlanIndicator NPI = NumberingPlanIndicator.UNKNOWN;
    static final ExecutorService later = Executors.newSingleThreadExecutor();

    static synchronized void say(String on, String more) {
        System.out.println("{\"on\":\"" + on + "\"" + more + "}");
    }

    static String quoted(String text) {
        StringBuilder octets = new StringBuilder();
        text.chars().forEach(c -> octets.append(String.format("\\u%04x", c)));
        return "\"" + octets + "\"";
    }

    static String text(byte[] octets, int coding) {
        return new String(octets, coding == 8 ? StandardCharsets.UTF_16BE : StandardCharsets.ISO_8859_1);
    }

    // The SMSC.

    static final AtomicInteger ids = new AtomicInteger();

    static void deliver(SMPPServerSession session, String from, String to, int esmClass, int coding, byte[] text, String on) {
        later.submit(() -> {
            session.deliverShortMessage("", TON, NPI, from, TON, NPI, to, new ESMClass(esmClass), (byte) 0, (byte) 0,
                new RegisteredDelivery(0), DataCodings.newInstance((byte) coding), text);
            say(on, ",\"status\":0");
            return null;
        });
    }

    static class Receiver implements ServerMessageReceiverListener {
        public SubmitSmResult onAcceptSubmitSm(SubmitSm pdu, SMPPServerSession session) throws ProcessRequestException {
            byte[] octets = pdu.getShortMessage();
            boolean headed = (pdu.getEsmClass() & 0x40) != 0;
            int part = headed ? octets[octets[0]] : 1;
            byte[] body = headed ? Arrays.copyOfRange(octets, octets[0] + 1, octets.length) : octets;
            String from = pdu.getSourceAddr(), to = pdu.getDestAddress();
            say("submit", ",\"to\":\"" + to + "\",\"part\":" + part + ",\"data_coding\":" + pdu.getDataCoding()
                + ",\"text\":" + quoted(text(body, pdu.getDataCoding())));
            if (to.equals(REFUSED)) throw new ProcessRequestException("no such destination", 0x0B);
            String id = String.valueOf(ids.incrementAndGet());
            String receipt = "id:" + id + " sub:001 dlvrd:001 submit date:2701150800 done date:2701150801 stat:DELIVRD err:000 text:";
            deliver(session, to, from, 4, 0, receipt.getBytes(), "receipt answered");
            if (to.equals(TALKS)) {
                deliver(session, to, from, 0, 8, "Sí, ¡gracias! ☺".getBytes(StandardCharsets.UTF_16BE), "mo answered");
            }
            try {
                return new SubmitSmResult(new MessageId(id), new OptionalParameter[0]);
            } catch (org.jsmpp.PDUStringException error) {
                throw new ProcessRequestException(error.getMessage(), 8);
            }
        }
        public void onAcceptEnquireLink(EnquireLink pdu, Session session) { say("enquire_link", ""); }
        public DataSmResult onAcceptDataSm(DataSm pdu, Session session) { return null; }
        public SubmitMultiResult onAcceptSubmitMulti(SubmitMulti pdu, SMPPServerSession session) { return null; }
        public QuerySmResult onAcceptQuerySm(QuerySm pdu, SMPPServerSession session) { return null; }
        public void onAcceptReplaceSm(ReplaceSm pdu, SMPPServerSession session) {}
        public void onAcceptCancelSm(CancelSm pdu, SMPPServerSession session) {}
        public BroadcastSmResult onAcceptBroadcastSm(BroadcastSm pdu, SMPPServerSession session) { return null; }
        public void onAcceptCancelBroadcastSm(CancelBroadcastSm pdu, SMPPServerSession session) {}
        public QueryBroadcastSmResult onAcceptQueryBroadcastSm(QueryBroadcastSm pdu, SMPPServerSession session) { return null; }
    }

    static void serve(int port) throws Exception {
        SMPPServerSessionListener listener = new SMPPServerSessionListener(port);
        listener.setMessageReceiverListener(new Receiver());
        listener.setSessionStateListener((now, before, session) -> {
            if (now == SessionState.UNBOUND) say("unbind", "");
        });
        say("listening", "");
        while (true) {
            SMPPServerSession session = listener.accept();
            BindRequest bind = session.waitForBind(5000);
            if (!bind.getPassword().equals("secret")) {
                bind.reject(0x0E);
                continue;
            }
            session.setEnquireLinkTimer(300);
            bind.accept("jsmpp", InterfaceVersion.IF_34);
            say("bind", ",\"system_id\":\"" + bind.getSystemId() + "\"");
        }
    }

    // The ESME: binds, sends a short and a long message, waits for their receipts and an MO, unbinds.

    static void submit(SMPPSession session, int esmClass, byte[] octets) throws Exception {
        String id = session.submitShortMessage("", TON, NPI, "89000", TON, NPI, "573001234567", new ESMClass(esmClass), (byte) 0,
            (byte) 0, null, null, new RegisteredDelivery(1), (byte) 0, DataCodings.newInstance((byte) (esmClass == 0 ? 0 : 8)), (byte) 0,
            octets).getMessageId();
        say("answer", ",\"status\":0,\"id\":\"" + id + "\"");
    }

    static void converse(int port, String password, String first, String... parts) throws Exception {
        CountDownLatch receipts = new CountDownLatch(1 + parts.length), mo = new CountDownLatch(1);
        SMPPSession session = new SMPPSession();
        session.setMessageReceiverListener(new MessageReceiverListener() {
            public void onAcceptDeliverSm(DeliverSm pdu) {
                String text = quoted(text(pdu.getShortMessage(), pdu.getDataCoding()));
                if (pdu.isSmscDeliveryReceipt()) {
                    say("receipt", ",\"text\":" + text);
                    receipts.countDown();
                } else {
                    say("mo", ",\"text\":" + text + ",\"from\":\"" + pdu.getSourceAddr() + "\"");
                    mo.countDown();
                }
            }
            public void onAcceptAlertNotification(AlertNotification pdu) {}
            public DataSmResult onAcceptDataSm(DataSm pdu, Session source) { return null; }
        });
        session.setEnquireLinkTimer(200);
        try {
            session.connectAndBind("127.0.0.1", port, new BindParameter(BindType.BIND_TRX, "a", password, "", TON, NPI, null));
        } catch (java.io.IOException error) {
            NegativeResponseException refusal = (NegativeResponseException) error.getCause();
            say("bound", ",\"status\":" + refusal.getCommandStatus());
            System.exit(0);
        }
        say("bound", ",\"status\":0");
        submit(session, 0, first.getBytes(StandardCharsets.ISO_8859_1));
        for (int number = 1; number <= parts.length; number++) {
            byte[] body = parts[number - 1].getBytes(StandardCharsets.UTF_16BE), octets = Arrays.copyOf(new byte[] {5, 0, 3, 7, (byte) parts.length, (byte) number}, 6 + body.length);
            System.arraycopy(body, 0, octets, 6, body.length);
            submit(session, 0x40, octets);
        }
        receipts.await();
        say("receipts", "");
        mo.await();
        session.unbindAndClose();
        say("unbound", ",\"status\":0");
        System.exit(0);
    }

    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(arguments[1]);
        if (arguments[0].equals("server")) serve(port);
        else converse(port, arguments[2], arguments[3], Arrays.copyOfRange(arguments, 4, arguments.length));
    }
}
