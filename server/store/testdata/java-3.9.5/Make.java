import org.apache.zookeeper.*;
import org.apache.zookeeper.data.*;
import java.util.*;
import java.util.concurrent.*;

public class Make {
    static ZooKeeper connect(String hp) throws Exception {
        CountDownLatch up = new CountDownLatch(1);
        ZooKeeper zk = new ZooKeeper(hp, 30000, e -> { if (e.getState() == Watcher.Event.KeeperState.SyncConnected) up.countDown(); });
        if (!up.await(30, TimeUnit.SECONDS)) throw new Exception("no connection");
        return zk;
    }
    static final List<ACL> OPEN = ZooDefs.Ids.OPEN_ACL_UNSAFE;
    public static void main(String[] a) throws Exception {
        ZooKeeper zk = connect(a[0]);
        if (a[1].equals("first")) {
            zk.create("/app", "hello".getBytes(), OPEN, CreateMode.PERSISTENT);
            zk.create("/app/null", null, OPEN, CreateMode.PERSISTENT);
            zk.create("/app/empty", new byte[0], OPEN, CreateMode.PERSISTENT);
            for (int i = 0; i < 5; i++) zk.create("/app/seq-", ("s" + i).getBytes(), OPEN, CreateMode.PERSISTENT_SEQUENTIAL);
            zk.delete("/app/seq-0000000002", -1);
            zk.setData("/app", "hello again".getBytes(), 0);
            zk.addAuthInfo("digest", "user:secret".getBytes());
            zk.create("/secret", "x".getBytes(), ZooDefs.Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
            zk.setACL("/app/null", ZooDefs.Ids.READ_ACL_UNSAFE, 0);
            try { zk.create("/app", null, OPEN, CreateMode.PERSISTENT); } catch (KeeperException e) { System.out.println(e.code()); }
            zk.multi(Arrays.asList(Op.create("/multi", "m".getBytes(), OPEN, CreateMode.PERSISTENT), Op.setData("/app", "by multi".getBytes(), -1), Op.check("/multi", 0)));
            try { zk.multi(Arrays.asList(Op.create("/multi/a", null, OPEN, CreateMode.PERSISTENT), Op.delete("/none", -1))); } catch (KeeperException e) { System.out.println(e.code()); }
            zk.create("/gone", null, OPEN, CreateMode.EPHEMERAL);
            zk.create("/container", null, OPEN, CreateMode.CONTAINER);
            zk.create("/container/child", "c".getBytes(), OPEN, CreateMode.PERSISTENT);
            zk.close();
        } else if (a[1].equals("second")) {
            zk.create("/second", "after restart".getBytes(), OPEN, CreateMode.PERSISTENT);
            zk.create("/ephemeral", "e".getBytes(), OPEN, CreateMode.EPHEMERAL);
            zk.create("/ttl", "t".getBytes(), OPEN, CreateMode.PERSISTENT_WITH_TTL, new Stat(), 1000000000L);
            System.out.println("session " + Long.toHexString(zk.getSessionId()));
            Runtime.getRuntime().halt(0); // the session stays open
        } else {
            zk.addAuthInfo("digest", "user:secret".getBytes());
            dump(zk, "/");
            zk.close();
        }
    }
    static void dump(ZooKeeper zk, String p) throws Exception {
        Stat s = new Stat();
        String d;
        try { byte[] b = zk.getData(p, false, s); d = b == null ? "null" : "\"" + new String(b) + "\""; } catch (KeeperException.NoAuthException e) { d = "NoAuth"; }
        System.out.println(p + " " + d + " czxid=" + Long.toHexString(s.getCzxid()) + " mzxid=" + Long.toHexString(s.getMzxid()) + " pzxid=" + Long.toHexString(s.getPzxid()) + " v=" + s.getVersion() + " cv=" + s.getCversion() + " av=" + s.getAversion() + " owner=" + Long.toHexString(s.getEphemeralOwner()) + " n=" + s.getNumChildren());
        List<String> c = zk.getChildren(p, false);
        Collections.sort(c);
        for (String n : c) dump(zk, p.equals("/") ? "/" + n : p + "/" + n);
    }
}
