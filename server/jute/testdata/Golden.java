import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.File;
import java.io.FileInputStream;
import java.io.PrintWriter;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HexFormat;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.jute.BinaryOutputArchive;
import org.apache.jute.Record;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.MultiOperationRecord;
import org.apache.zookeeper.MultiResponse;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.Version;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.data.*;
import org.apache.zookeeper.proto.*;
import org.apache.zookeeper.server.NIOServerCnxnFactory;
import org.apache.zookeeper.server.ZooKeeperServer;
import org.apache.zookeeper.server.persistence.FileHeader;
import org.apache.zookeeper.server.persistence.FileTxnLog;
import org.apache.zookeeper.server.persistence.FileSnap;
import org.apache.zookeeper.server.persistence.Util;
import org.apache.zookeeper.server.quorum.*;
import org.apache.zookeeper.txn.*;

/** Writes the *.hex files beside it, with the classes and the server of Apache ZooKeeper. README.md says how to run it. */
public class Golden {
    static Path folder;

    public static void main(String[] args) throws Exception {
        folder = Path.of(args[0]);
        try {
            records();
            server();
            election();
        } catch (Throwable error) {
            error.printStackTrace();
            System.exit(1);
        }
        System.exit(0);
    }

    static PrintWriter open(String name, String what) throws Exception {
        PrintWriter out = new PrintWriter(folder.resolve(name).toFile());
        out.println("# " + what + " Made by Golden.java with Apache ZooKeeper " + Version.getVersion() + ".");
        return out;
    }

    static String hex(byte[] bytes) {
        return HexFormat.of().formatHex(bytes);
    }

    // ---------------------------------------------------------------------------------- records

    static byte[] bytes(Record record) throws Exception {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        record.serialize(BinaryOutputArchive.getArchive(out), "record");
        return out.toByteArray();
    }

    static void put(PrintWriter out, String name, Record record) throws Exception {
        out.println(name + " " + hex(bytes(record)));
    }

    static void records() throws Exception {
        PrintWriter out = open("records.hex", "One line per record: name, bytes.");
        Id world = new Id("world", "anyone");
        Id digest = new Id("digest", "\u00fcser:+7K83PhyQ3ijGj0ADmljf0quVwQ=");
        List<ACL> acl = List.of(new ACL(31, world), new ACL(5, digest));
        byte[] data = "data \u00e4".getBytes(StandardCharsets.UTF_8);
        Stat stat = new Stat(0x100000002L, 0x100000003L, 1700000000001L, 1700000000002L, 4, 5, 6, 0x1000000abcd0007L, 8, 9, 0x10000000aL);
        byte[] password = new byte[] {1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12, 13, -14, 15, -16};

        put(out, "Id", digest);
        put(out, "IdCesu8", new Id("digest", "a\ud83d\ude00b\ud800"));
        put(out, "Acl", acl.get(1));
        put(out, "Stat", stat);
        put(out, "StatPersisted", new StatPersisted(2, 3, 4, 5, 6, 7, 8, Long.MIN_VALUE, 9));
        put(out, "ClientInfo", new ClientInfo("digest", "user"));

        put(out, "ConnectRequest", new ConnectRequest(0, 0x100000005L, 30000, 0x1000000abcd0007L, password, true));
        put(out, "ConnectRequestNew", new ConnectRequest(0, 0, 30000, 0, new byte[16], false));
        put(out, "ConnectRequestNull", new ConnectRequest(0, 0, 30000, 0, null, false));
        put(out, "ConnectResponse", new ConnectResponse(0, 30000, 0x1000000abcd0007L, password, false));
        put(out, "AuthPacket", new AuthPacket(0, "digest", "user:pass".getBytes()));
        put(out, "RequestHeader", new RequestHeader(-8, 105));
        put(out, "ReplyHeader", new ReplyHeader(7, 0x100000006L, -101));
        put(out, "MultiHeader", new MultiHeader(-1, true, -1));
        put(out, "ErrorResponse", new ErrorResponse(-110));
        put(out, "WatcherEvent", new WatcherEvent(4, 3, "/a"));

        put(out, "CreateRequest", new CreateRequest("/\u00e4", data, acl, 3));
        put(out, "CreateRequestNull", new CreateRequest("/a", null, null, 0));
        put(out, "CreateRequestEmpty", new CreateRequest("/a", new byte[0], Collections.emptyList(), 0));
        put(out, "CreateTtlRequest", new CreateTTLRequest("/a", data, acl, 5, 0x1234567890L));
        put(out, "DeleteRequest", new DeleteRequest("/a", -1));
        put(out, "ExistsRequest", new ExistsRequest("/a", true));
        put(out, "GetDataRequest", new GetDataRequest("/a", false));
        put(out, "GetChildrenRequest", new GetChildrenRequest("/", true));
        put(out, "GetChildren2Request", new GetChildren2Request("/", false));
        put(out, "SetDataRequest", new SetDataRequest("/a", data, 7));
        put(out, "GetAclRequest", new GetACLRequest("/a"));
        put(out, "SetAclRequest", new SetACLRequest("/a", acl, 2));
        put(out, "SyncRequest", new SyncRequest("/"));
        put(out, "CheckVersionRequest", new CheckVersionRequest("/a", 3));
        put(out, "CheckWatchesRequest", new CheckWatchesRequest("/a", 3));
        put(out, "RemoveWatchesRequest", new RemoveWatchesRequest("/a", 1));
        put(out, "AddWatchRequest", new AddWatchRequest("/a", 1));
        put(out, "SetWatches", new SetWatches(0x100000009L, List.of("/a", "/b"), List.of("/c"), List.of()));
        put(out, "SetWatches2", new SetWatches2(1, List.of(), List.of("/b"), List.of("/c", "/"), List.of("/d"), List.of("/e")));
        put(out, "ReconfigRequest", new ReconfigRequest("server.4=h:1:2;3", null, null, -1));
        put(out, "GetEphemeralsRequest", new GetEphemeralsRequest("/a"));
        put(out, "GetAllChildrenNumberRequest", new GetAllChildrenNumberRequest("/a"));
        put(out, "SaslToken", new GetSASLRequest(data));
        put(out, "MultiRequest", new MultiOperationRecord(List.of(
            Op.create("/a", data, acl, CreateMode.EPHEMERAL),
            Op.create("/c", null, acl, CreateMode.CONTAINER.toFlag()),
            Op.create("/t", data, acl, CreateMode.PERSISTENT_WITH_TTL, 5000L),
            Op.delete("/b", 4), Op.setData("/a", new byte[0], 0), Op.check("/a", 1))));
        put(out, "MultiRequestEmpty", new MultiOperationRecord(List.of()));
        put(out, "MultiReadRequest", new MultiOperationRecord(List.of(Op.getChildren("/a"), Op.getData("/b"))));

        put(out, "CreateResponse", new CreateResponse("/a0000000003"));
        put(out, "Create2Response", new Create2Response("/a", stat));
        put(out, "ExistsResponse", new ExistsResponse(stat));
        put(out, "SetDataResponse", new SetDataResponse(stat));
        put(out, "SetAclResponse", new SetACLResponse(stat));
        put(out, "GetDataResponse", new GetDataResponse(data, stat));
        put(out, "GetDataResponseNull", new GetDataResponse(null, stat));
        put(out, "GetChildrenResponse", new GetChildrenResponse(List.of("a", "b")));
        put(out, "GetChildren2Response", new GetChildren2Response(List.of(), stat));
        put(out, "GetAclResponse", new GetACLResponse(acl, stat));
        put(out, "SyncResponse", new SyncResponse("/"));
        put(out, "GetEphemeralsResponse", new GetEphemeralsResponse(List.of("/a")));
        put(out, "GetAllChildrenNumberResponse", new GetAllChildrenNumberResponse(42));
        put(out, "WhoAmIResponse", new WhoAmIResponse(List.of(new ClientInfo("ip", "127.0.0.1"), new ClientInfo("digest", "user"))));
        MultiResponse results = new MultiResponse();
        results.add(new OpResult.CreateResult("/a"));
        results.add(new OpResult.CreateResult("/c", stat));
        results.add(new OpResult.DeleteResult());
        results.add(new OpResult.SetDataResult(stat));
        results.add(new OpResult.CheckResult());
        put(out, "MultiResponse", results);
        MultiResponse failed = new MultiResponse();
        failed.add(new OpResult.ErrorResult(0));
        failed.add(new OpResult.ErrorResult(-101));
        failed.add(new OpResult.ErrorResult(-2));
        put(out, "MultiResponseFailed", failed);
        MultiResponse reads = new MultiResponse();
        reads.add(new OpResult.GetChildrenResult(List.of("x", "y")));
        reads.add(new OpResult.GetDataResult(data, stat));
        reads.add(new OpResult.ErrorResult(-101));
        put(out, "MultiReadResponse", reads);

        TxnHeader header = new TxnHeader(0x1000000abcd0007L, 8, 0x10000000bL, 1700000000003L, 14);
        put(out, "TxnHeader", header);
        put(out, "CreateTxn", new CreateTxn("/a", data, acl, true, 12));
        put(out, "CreateTxnV0", new CreateTxnV0("/a", data, acl, false));
        put(out, "CreateTtlTxn", new CreateTTLTxn("/a", data, acl, 13, 5000L));
        put(out, "CreateContainerTxn", new CreateContainerTxn("/a", null, acl, 14));
        put(out, "DeleteTxn", new DeleteTxn("/a"));
        put(out, "SetDataTxn", new SetDataTxn("/a", data, 15));
        put(out, "SetAclTxn", new SetACLTxn("/a", acl, 16));
        put(out, "CheckVersionTxn", new CheckVersionTxn("/a", 17));
        put(out, "CreateSessionTxn", new CreateSessionTxn(30000));
        put(out, "CloseSessionTxn", new CloseSessionTxn(List.of("/a", "/b")));
        put(out, "ErrorTxn", new ErrorTxn(-103));
        put(out, "MultiTxn", new MultiTxn(List.of(
            new Txn(1, bytes(new CreateTxn("/a", data, acl, true, 12))),
            new Txn(15, bytes(new CreateTxn("/b", data, acl, false, 13))),
            new Txn(2, bytes(new DeleteTxn("/c"))), new Txn(13, bytes(new CheckVersionTxn("/d", 1))))));
        put(out, "TxnDigest", new TxnDigest(2, 0x51c6d660L));
        out.println("LogPayloadCreateV0 " + hex(Util.marshallTxnEntry(
            new TxnHeader(1, 2, 3, 4, 1), new CreateTxnV0("/old", data, acl, false), null)));

        put(out, "QuorumPacket", new QuorumPacket(1, -1, data, List.of(world, digest)));
        put(out, "QuorumPacketBare", new QuorumPacket(12, -1, null, null));
        put(out, "LearnerInfo", new LearnerInfo(3, 0x10000, 0x100000000L));
        put(out, "QuorumAuthPacket", new QuorumAuthPacket(QuorumAuth.MAGIC, 1, data));
        put(out, "LogFileHeader", new FileHeader(FileTxnLog.TXNLOG_MAGIC, FileTxnLog.VERSION, 0));
        put(out, "SnapshotFileHeader", new FileHeader(FileSnap.SNAP_MAGIC, 2, -1));
        out.close();
    }

    static class QuorumAuth {
        static final long MAGIC = org.apache.zookeeper.server.quorum.auth.QuorumAuth.QUORUM_AUTH_MAGIC_NUMBER;
    }

    // ----------------------------------------------------------------------------------- server

    /** Runs a server and a client through a recording proxy, then dumps the server's log. */
    static void server() throws Exception {
        System.setProperty("zookeeper.extendedTypesEnabled", "true");
        PrintWriter session = open("session.hex", "Frames of one connection in order, without their lengths: > client, < server, bytes.");
        PrintWriter log = open("log.hex", "Payloads of a server's log: transaction type, bytes.");

        File data = Files.createTempDirectory("golden").toFile();
        ZooKeeperServer server = new ZooKeeperServer(data, data, 1000);
        NIOServerCnxnFactory factory = new NIOServerCnxnFactory();
        factory.configure(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 10);
        factory.startup(server);
        int proxy = proxy(factory.getLocalPort(), session);
        conversation(connect(proxy));
        // A session that ends in the older way.
        ZooKeeperServer.setCloseSessionTxnEnabled(false);
        connect(factory.getLocalPort()).close();
        factory.shutdown();
        Thread.sleep(500);
        for (File file : sorted(new File(data, "version-2"))) {
            if (file.getName().startsWith("log.")) {
                dump(file, log);
            }
        }
        log.close();
        synchronized (session) {
            session.close();
        }
    }

    static File[] sorted(File directory) {
        File[] files = directory.listFiles();
        Arrays.sort(files);
        return files;
    }

    static ZooKeeperAdmin connect(int port) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeperAdmin client = new ZooKeeperAdmin("127.0.0.1:" + port, 10000, event -> connected.countDown());
        connected.await();
        return client;
    }

    interface Call {
        void run() throws Exception;
    }

    static void fails(Call call) throws Exception {
        try {
            call.run();
            throw new AssertionError("should have failed");
        } catch (KeeperException expected) {
            // The answer is in the recording.
        }
    }

    static void conversation(ZooKeeperAdmin client) throws Exception {
        List<ACL> open = ZooDefs.Ids.OPEN_ACL_UNSAFE;
        Watcher ignore = event -> { };
        client.addAuthInfo("digest", "user:pass".getBytes());
        client.exists("/a", ignore);
        client.create("/a", "one".getBytes(), open, CreateMode.PERSISTENT);
        client.getData("/a", ignore, null);
        client.setData("/a", "two".getBytes(), 0);
        client.getChildren("/a", ignore);
        client.create("/a/null", null, open, CreateMode.PERSISTENT, new Stat());
        client.create("/a/empty", new byte[0], ZooDefs.Ids.CREATOR_ALL_ACL, CreateMode.EPHEMERAL_SEQUENTIAL);
        client.create("/a/container", null, open, CreateMode.CONTAINER);
        client.create("/a/ttl", null, open, CreateMode.PERSISTENT_WITH_TTL, new Stat(), 60000);
        client.getChildren("/a", false, new Stat());
        client.getData("/a/null", false, new Stat());
        client.getACL("/a", new Stat());
        client.setACL("/a", new ArrayList<>(List.of(new ACL(31, new Id("world", "anyone")), new ACL(1, new Id("ip", "127.0.0.1")))), 0);
        client.getAllChildrenNumber("/a");
        client.getEphemerals("/a");
        client.whoAmI();
        client.sync("/a", (code, path, ctx) -> { }, null);
        client.addWatch("/a", ignore, AddWatchMode.PERSISTENT_RECURSIVE);
        client.removeWatches("/a", ignore, Watcher.WatcherType.Any, false);
        client.addWatch("/a", ignore, AddWatchMode.PERSISTENT);
        client.removeAllWatches("/a", Watcher.WatcherType.Any, false);
        client.multi(List.of(Op.check("/a", 1), Op.create("/m", "m".getBytes(), open, CreateMode.EPHEMERAL),
            Op.create("/m2", null, open, CreateMode.CONTAINER), Op.setData("/m", null, -1), Op.delete("/a/null", -1)));
        fails(() -> client.multi(List.of(Op.setData("/m", null, -1), Op.delete("/none", -1), Op.check("/a", 1))));
        client.multi(List.of(Op.getData("/m"), Op.getChildren("/a"), Op.getData("/none")));
        fails(() -> client.create("/a", null, open, CreateMode.PERSISTENT));
        fails(() -> client.getData("/none", false, null));
        fails(() -> client.reconfigure("server.2=h:1:2;3", null, null, -1, new Stat()));
        client.delete("/m2", -1);
        client.close();
    }

    /** Forwards one connection to `port` and records its frames. */
    static int proxy(int port, PrintWriter out) throws Exception {
        ServerSocket listener = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
        Thread accept = new Thread(() -> {
            try {
                Socket client = listener.accept();
                Socket server = new Socket(InetAddress.getLoopbackAddress(), port);
                pump(client, server, ">", out);
                pump(server, client, "<", out);
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        });
        accept.setDaemon(true);
        accept.start();
        return listener.getLocalPort();
    }

    static void pump(Socket from, Socket to, String mark, PrintWriter out) {
        Thread thread = new Thread(() -> {
            try (from; to) {
                DataInputStream in = new DataInputStream(from.getInputStream());
                DataOutputStream next = new DataOutputStream(to.getOutputStream());
                while (true) {
                    byte[] frame = new byte[in.readInt()];
                    in.readFully(frame);
                    synchronized (out) {
                        out.println(mark + " " + hex(frame));
                    }
                    ByteArrayOutputStream whole = new ByteArrayOutputStream();
                    new DataOutputStream(whole).writeInt(frame.length);
                    whole.write(frame);
                    next.write(whole.toByteArray());
                }
            } catch (Exception end) {
                // The connection is over.
            }
        });
        thread.setDaemon(true);
        thread.start();
    }

    /** Reads the file by hand, so that payloads are what is on disk. */
    static void dump(File file, PrintWriter out) throws Exception {
        try (DataInputStream in = new DataInputStream(new FileInputStream(file))) {
            in.skipBytes(16);
            while (true) {
                long checksum = in.readLong();
                int length = in.readInt();
                if (length == 0) {
                    return;
                }
                byte[] payload = new byte[length];
                in.readFully(payload);
                in.readByte();
                int type = java.nio.ByteBuffer.wrap(payload).getInt(28);
                out.println(type + " " + hex(payload));
            }
        } catch (EOFException end) {
            // Not preallocated to the end.
        }
    }

    // --------------------------------------------------------------------------------- election

    /** Lets server 2 of an ensemble dial a listener that stands in for server 1. */
    static void election() throws Exception {
        PrintWriter out = open("election.hex", "What server 2 says to server 1 on the election port: hello, then framed notifications.");
        ServerSocket first = new ServerSocket(0, 5, InetAddress.getLoopbackAddress());
        int[] ports = new int[4];
        for (int i = 0; i < ports.length; i++) {
            try (ServerSocket free = new ServerSocket(0)) {
                ports[i] = free.getLocalPort();
            }
        }
        Path data = Files.createTempDirectory("golden");
        Files.writeString(data.resolve("myid"), "2");
        Properties config = new Properties();
        config.setProperty("dataDir", data.toString());
        config.setProperty("clientPort", "" + ports[0]);
        config.setProperty("clientPortAddress", "127.0.0.1");
        config.setProperty("tickTime", "1000");
        config.setProperty("initLimit", "5");
        config.setProperty("syncLimit", "5");
        config.setProperty("admin.enableServer", "false");
        config.setProperty("server.1", "127.0.0.1:" + ports[1] + ":" + first.getLocalPort());
        config.setProperty("server.2", "127.0.0.1:" + ports[2] + ":" + ports[3]);
        QuorumPeerConfig parsed = new QuorumPeerConfig();
        parsed.parseProperties(config);
        Thread peer = new Thread(() -> {
            try {
                new QuorumPeerMain().runFromConfig(parsed);
            } catch (Exception error) {
                error.printStackTrace();
            }
        });
        peer.setDaemon(true);
        peer.start();

        DataInputStream in = new DataInputStream(first.accept().getInputStream());
        byte[] head = in.readNBytes(20);
        byte[] address = in.readNBytes(java.nio.ByteBuffer.wrap(head).getInt(16));
        out.println("Hello " + hex(head) + hex(address));
        byte[] notification = in.readNBytes(in.readInt());
        out.println("Notification " + hex(notification));
        out.close();
    }
}
