// An SMSC on Cloudhopper's library: answers with ids 1, 2, 3 … and their receipts, says what it heard as lines of JSON.
import com.cloudhopper.commons.charset.CharsetUtil;
import com.cloudhopper.commons.util.windowing.WindowFuture;
import com.cloudhopper.smpp.*;
import com.cloudhopper.smpp.impl.*;
import com.cloudhopper.smpp.pdu.*;
import com.cloudhopper.smpp.type.*;
import java.util.Arrays;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicInteger;

public class Cloudhopper {
    static final String REFUSED = "573000000000", TALKS = "573009999999";
    static final AtomicInteger ids = new AtomicInteger();
    static final ExecutorService later = Executors.newSingleThreadExecutor();

    static synchronized void say(String on, String more) {
        System.out.println("{\"on\":\"" + on + "\"" + more + "}");
    }

    static void deliver(SmppSession session, Address from, Address to, int esmClass, int coding, byte[] text, String on) {
        later.submit(() -> {
            DeliverSm pdu = new DeliverSm();
            pdu.setSourceAddress(from);
            pdu.setDestAddress(to);
            pdu.setEsmClass((byte) esmClass);
            pdu.setDataCoding((byte) coding);
            pdu.setShortMessage(text);
            WindowFuture<Integer, PduRequest, PduResponse> asked = session.sendRequestPdu(pdu, 5000, true);
            asked.await();
            say(on, ",\"status\":" + asked.getResponse().getCommandStatus());
            return null;
        });
    }

    static PduResponse submitted(SmppSession session, SubmitSm pdu) {
        byte[] octets = pdu.getShortMessage();
        boolean headed = (pdu.getEsmClass() & 0x40) != 0;
        int part = headed ? octets[octets[0]] : 1;
        byte[] body = headed ? Arrays.copyOfRange(octets, octets[0] + 1, octets.length) : octets;
        String text = CharsetUtil.decode(body, pdu.getDataCoding() == 8 ? CharsetUtil.CHARSET_UCS_2 : CharsetUtil.CHARSET_GSM);
        String to = pdu.getDestAddress().getAddress();
        StringBuilder quoted = new StringBuilder();
        text.chars().forEach(c -> quoted.append(String.format("\\u%04x", c)));
        say("submit", ",\"to\":\"" + to + "\",\"part\":" + part + ",\"data_coding\":" + pdu.getDataCoding() + ",\"text\":\"" + quoted + "\"");
        SubmitSmResp answer = pdu.createResponse();
        if (to.equals(REFUSED)) {
            answer.setCommandStatus(SmppConstants.STATUS_INVDSTADR);
            return answer;
        }
        String id = String.valueOf(ids.incrementAndGet());
        answer.setMessageId(id);
        String receipt = "id:" + id + " sub:001 dlvrd:001 submit date:2701150800 done date:2701150801 stat:DELIVRD err:000 text:";
        deliver(session, pdu.getDestAddress(), pdu.getSourceAddress(), 4, 0, receipt.getBytes(), "receipt answered");
        if (to.equals(TALKS)) {
            byte[] mo = CharsetUtil.encode("Sí, ¡gracias! ☺", CharsetUtil.CHARSET_UCS_2);
            deliver(session, pdu.getDestAddress(), pdu.getSourceAddress(), 0, 8, mo, "mo answered");
        }
        return answer;
    }

    public static void main(String[] arguments) throws Exception {
        SmppServerConfiguration configuration = new SmppServerConfiguration();
        configuration.setHost("127.0.0.1");
        configuration.setPort(Integer.parseInt(arguments[0]));
        configuration.setSystemId("cloudhopper");
        configuration.setNonBlockingSocketsEnabled(true);
        configuration.setDefaultWindowSize(20);
        new DefaultSmppServer(configuration, new SmppServerHandler() {
            public void sessionBindRequested(Long id, SmppSessionConfiguration session, BaseBind bind) throws SmppProcessingException {
                if (!bind.getPassword().equals("secret")) throw new SmppProcessingException(SmppConstants.STATUS_INVPASWD);
                say("bind", ",\"system_id\":\"" + bind.getSystemId() + "\"");
            }
            public void sessionCreated(Long id, SmppServerSession session, BaseBindResp answer) {
                session.serverReady(new DefaultSmppSessionHandler() {
                    public PduResponse firePduRequestReceived(PduRequest pdu) {
                        if (pdu instanceof SubmitSm) return submitted(session, (SubmitSm) pdu);
                        say(pdu.getName(), "");
                        return pdu.createResponse();
                    }
                });
                later.submit(() -> {
                    say("alive", ",\"status\":" + session.enquireLink(new EnquireLink(), 5000).getCommandStatus());
                    return null;
                });
            }
            public void sessionDestroyed(Long id, SmppServerSession session) {
                session.destroy();
            }
        }).start();
        say("listening", "");
    }
}
