//! Keys of Apache ZooKeeper 3.9 that have no effect here: what to tell whoever sets one.
//!
//! A key that would let a server seem to keep a promise it does not keep is refused; any other is named in a warning,
//! with what holds instead. Values that ask for what is the case anyway are passed over in silence.

/// A key, or the beginning of several (then it ends with a dot).
pub(crate) struct Foreign {
    key: &'static str,
    /// Values that ask for what is the case.
    harmless: &'static [&'static str],
    /// What holds instead: a sentence without its end.
    pub(crate) instead: &'static str,
}

impl Foreign {
    fn is_meant_by(&self, key: &str) -> bool {
        self.key == key || (self.key.ends_with('.') && key.starts_with(self.key))
    }

    /// Whether this value asks for what is the case anyway.
    pub(crate) fn is_harmless(&self, value: &str) -> bool {
        self.harmless.iter().any(|harmless| harmless.eq_ignore_ascii_case(value))
    }
}

/// The entry for `key` among those that are refused.
pub(crate) fn refused(key: &str) -> Option<&'static Foreign> {
    REFUSED.iter().find(|foreign| foreign.is_meant_by(key))
}

/// The entry for `key` among those that are ignored.
pub(crate) fn ignored(key: &str) -> Option<&'static Foreign> {
    IGNORED.iter().find(|foreign| foreign.is_meant_by(key))
}

/// All keys that are not beginnings.
pub(crate) fn whole_keys() -> impl Iterator<Item = &'static str> {
    let keys = REFUSED.iter().chain(IGNORED).map(|foreign| foreign.key);
    keys.filter(|key| !key.ends_with('.'))
}

const fn foreign(
    key: &'static str,
    harmless: &'static [&'static str],
    instead: &'static str,
) -> Foreign {
    Foreign { key, harmless, instead }
}

const NO_TLS: &str = "TLS is not supported; remove the line";
const NO_SASL: &str = "SASL is not supported; remove the line";
const NO_QUORUM_SASL: &str = "SASL between servers is not supported; remove the line";
const MAJORITIES_ONLY: &str =
    "hierarchical quorums are not supported; remove the group and weight lines";

/// What a server must not seem to honour.
const REFUSED: &[Foreign] = &[
    foreign("DigestAuthenticationProvider.digestAlg", &["SHA1"], "only SHA1 digests are supported"),
    foreign("DigestAuthenticationProvider.enabled", &["true"], "the digest scheme always exists"),
    foreign("authProvider.", &[], "other schemes of authentication cannot be added"),
    foreign("client.portUnification", &["false"], NO_TLS),
    foreign("electionAlg", &["3"], "only election algorithm 3 (fast leader election) exists"),
    foreign("enforce.auth.enabled", &["false"], "enforced authentication is not supported"),
    foreign("enforceQuota", &["false"], "quotas are not enforced; remove the line"),
    foreign("group.", &[], MAJORITIES_ONLY),
    foreign("multiAddress.enabled", &["false"], "several addresses per server are not supported"),
    foreign("oraclePath", &[], "the quorum oracle is not supported; remove the line"),
    foreign("portUnification", &["false"], NO_TLS),
    foreign("quorum.auth.enableSasl", &["false"], NO_QUORUM_SASL),
    foreign("quorum.auth.learnerRequireSasl", &["false"], NO_QUORUM_SASL),
    foreign("quorum.auth.serverRequireSasl", &["false"], NO_QUORUM_SASL),
    foreign("secureClientPort", &[], NO_TLS),
    foreign("secureClientPortAddress", &[], NO_TLS),
    foreign("sessionRequireClientSASLAuth", &["false"], NO_SASL),
    foreign("skipACL", &["no", "false"], "ACLs are always checked; remove the line"),
    foreign("sslQuorum", &["false"], NO_TLS),
    foreign("weight.", &[], MAJORITIES_ONLY),
];

const OF_JAVA: &str = "it steers a part of the Java server that does not exist here";
const NO_ADMIN_SERVER: &str =
    "there is no AdminServer; the pages are served on metricsProvider.httpPort";
const NO_THROTTLE: &str = "requests and connections are bounded by globalOutstandingLimit, \
                           maxClientCnxns and maxCnxns alone";
const NO_JVM: &str = "there is no JVM";
const NO_RESPONSE_CACHE: &str = "answers are not cached";
const GLOBAL_SESSIONS: &str = "all sessions are global";
const GROUP_COMMIT: &str = "one sync takes all writes that came while the last one ran";
const TLS_IS_OFF: &str = "TLS is not supported";
const SASL_IS_OFF: &str = "SASL is not supported";
const NEVER_REAPED: &str = "empty containers are never removed";
const NO_TTL: &str = "znodes with a time to live are not supported";

/// What a server can run without, said by name.
const IGNORED: &[Foreign] = &[
    foreign("IPAuthenticationProvider.", &["false"], "an address is that of the connection"),
    foreign("X509AuthenticationProvider.", &[], TLS_IS_OFF),
    foreign("admin.", &["false"], NO_ADMIN_SERVER),
    foreign("advancedFlowControlEnabled", &[], NO_THROTTLE),
    foreign("allowSaslFailedClients", &["false"], SASL_IS_OFF),
    foreign("audit.", &["false"], "there is no audit log"),
    foreign(
        "autopurge.purgeInterval",
        &[],
        "old snapshots and logs are deleted after every new snapshot",
    ),
    foreign("bitHashCacheSize", &[], OF_JAVA),
    foreign("clientTcpKeepAlive", &["false"], "dead connections end with their session's timeout"),
    foreign("closeSessionTxn.enabled", &["true"], "it is always so"),
    foreign("commitLogCount", &[], "zab.historyBytes bounds the history kept for learners"),
    foreign("commitProcessor.", &[], OF_JAVA),
    foreign("connectionDecreaseRatio", &[], NO_THROTTLE),
    foreign("connectionDropDecrease", &[], NO_THROTTLE),
    foreign("connectionDropIncrease", &[], NO_THROTTLE),
    foreign("connectionFreezeTime", &[], NO_THROTTLE),
    foreign("connectionMaxTokens", &["0"], NO_THROTTLE),
    foreign("connectionTokenFillCount", &[], NO_THROTTLE),
    foreign("connectionTokenFillTime", &[], NO_THROTTLE),
    foreign("connection_throttle_weight_enabled", &["false"], NO_THROTTLE),
    foreign("digest.enabled", &["true"], "a digest of the tree is always kept"),
    foreign("emulate353TTLNodes", &["false"], NO_TTL),
    foreign("enableEagerACLCheck", &["false"], "the leader checks ACLs"),
    foreign("enforce.auth.schemes", &[], "enforced authentication is not supported"),
    foreign("extendedTypesEnabled", &["false"], NO_TTL),
    foreign("fastleader.", &[], "zab.electionFinalizeWaitMs steers elections"),
    foreign("fips-mode", &[], TLS_IS_OFF),
    foreign("flushDelay", &["0"], GROUP_COMMIT),
    foreign("forceSync", &["yes"], "every write is on disk before it is acknowledged"),
    foreign("forward_learner_requests_to_commit_processor_disabled", &[], OF_JAVA),
    foreign("fsync.warningthresholdms", &[], "/metrics shows how long syncs take"),
    foreign("intBufferStartingSizeBytes", &[], OF_JAVA),
    foreign("jute.maxbuffer.extrasize", &[], "what is on disk may be of any size"),
    foreign("jvm.", &["false"], NO_JVM),
    foreign("kerberos.", &[], SASL_IS_OFF),
    foreign("largeRequestMaxBytes", &[], NO_THROTTLE),
    foreign("largeRequestThreshold", &["-1"], NO_THROTTLE),
    foreign("leader.", &[], OF_JAVA),
    foreign("leaderConnectDelayDuringRetryMs", &[], OF_JAVA),
    foreign("leaderServes", &["yes"], "the leader serves clients too"),
    foreign("learner.", &[], OF_JAVA),
    foreign("localSessionsEnabled", &["false"], GLOBAL_SESSIONS),
    foreign("localSessionsUpgradingEnabled", &["false"], GLOBAL_SESSIONS),
    foreign("maxBatchSize", &[], GROUP_COMMIT),
    foreign("maxGetChildrenResponseCacheSize", &["0"], NO_RESPONSE_CACHE),
    foreign("maxInProcessingDeadWatchers", &[], OF_JAVA),
    foreign("maxResponseCacheSize", &["0"], NO_RESPONSE_CACHE),
    foreign("maxTimeToWaitForEpoch", &[], OF_JAVA),
    foreign("maxWriteQueuePollTime", &[], GROUP_COMMIT),
    foreign("messageTracker.", &["false"], OF_JAVA),
    foreign(
        "metricsProvider.",
        &["org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider", "false"],
        "the pages are those of zab-server; metricsProvider.httpPort=0 turns them off",
    ),
    foreign("multiAddress.", &["false"], "several addresses per server are not supported"),
    foreign("netty.", &[], OF_JAVA),
    foreign("nio.", &[], OF_JAVA),
    foreign("observer.", &[], "an observer dials as a follower does"),
    foreign("observerMasterPort", &[], "observers are fed by the leader"),
    foreign("outstandingHandshake.limit", &[], TLS_IS_OFF),
    foreign("quorum.auth.", &[], "SASL between servers is not supported"),
    foreign("quorum.cnxn.threads.size", &[], OF_JAVA),
    foreign("quorumCnxnTimeoutMs", &[], "cnxTimeout counts for silent connections too"),
    foreign("readonlymode.enabled", &["false"], "a server without a leader serves nobody"),
    foreign(
        "reconfigEnabled",
        &["false"],
        "the membership must not be changed while this server runs",
    ),
    foreign("requestStaleConnectionCheck", &[], NO_THROTTLE),
    foreign("requestStaleLatencyCheck", &[], NO_THROTTLE),
    foreign("request_throttle_drop_stale", &[], NO_THROTTLE),
    foreign("request_throttle_max_requests", &["0"], NO_THROTTLE),
    foreign("request_throttle_stall_time", &[], NO_THROTTLE),
    foreign("request_throttler.", &[], NO_THROTTLE),
    foreign("sasl.", &[], SASL_IS_OFF),
    foreign("serializeLastProcessedZxid.enabled", &["true"], "it is always so"),
    foreign("serverCnxnFactory", &[], OF_JAVA),
    foreign("snapSizeLimitInKb", &[], "snapCount alone says when a snapshot is due"),
    foreign("snapshot.compression.method", &[], "snapshots are not compressed"),
    foreign("snapshot.trust.empty", &["false"], "a log without its snapshot is always refused"),
    foreign("snapshotSizeFactor", &[], "learners get what zab.historyBytes keeps, or a snapshot"),
    foreign("ssl.", &["false"], TLS_IS_OFF),
    foreign("sslQuorumReloadCertFiles", &["false"], TLS_IS_OFF),
    foreign("syncEnabled", &["true"], "observers keep a log too"),
    foreign("tcpKeepAlive", &["true"], "connections between servers are always kept alive"),
    foreign("throttled_op_wait_time", &[], NO_THROTTLE),
    foreign("txnLogSizeLimitInKb", &[], "a log file is as long as preAllocSize says"),
    foreign("watchManagerName", &[], OF_JAVA),
    foreign("watcherCleanIntervalInSeconds", &[], OF_JAVA),
    foreign("watcherCleanThreadsNum", &[], OF_JAVA),
    foreign("watcherCleanThreshold", &[], OF_JAVA),
    foreign("znode.container.", &[], NEVER_REAPED),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_in_order_and_no_key_stands_twice() {
        for list in [REFUSED, IGNORED] {
            assert!(list.is_sorted_by(|one, next| one.key < next.key));
        }
        assert!(IGNORED.iter().all(|it| !REFUSED.iter().any(|refused| refused.key == it.key)));
    }

    #[test]
    fn a_beginning_stands_for_all_its_keys() {
        assert!(ignored("admin.serverPort").is_some_and(|it| !it.is_harmless("8080")));
        assert!(ignored("admin.enableServer").is_some_and(|it| it.is_harmless("false")));
        assert!(ignored("administrator").is_none());
        assert!(refused("group.1").is_some() && refused("groups").is_none());
        // An exact key that is refused beats the beginning that is ignored.
        assert!(refused("multiAddress.enabled").is_some());
    }
}
