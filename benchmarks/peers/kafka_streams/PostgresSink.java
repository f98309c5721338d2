import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.processor.StateStoreContext;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.internals.CacheFlushListener;
import org.apache.kafka.streams.state.internals.CachedStateStore;

/**
 * Upserts states into PostgreSQL, the newest of each item, a batch in a transaction. At least once: Kafka Streams commits no
 * offset before the states that came of it are in the table, because the sink's buffer is flushed as a record cache is.
 */
final class PostgresSink implements ProcessorSupplier<Bytes, ItemState, Void, Void> {
    private static final String STORE = "postgres-buffer";
    private static final String COLUMNS =
            "org_id, item_id, item_type, status, attributes, version, first_seen_at, updated_at, partition, \"offset\"";
    private static final String INSTANTS =
            "timestamptz 'epoch' + %1$s * interval '1 microsecond', timestamptz 'epoch' + %2$s * interval '1 microsecond'";
    private static final String CONFLICT = " ON CONFLICT (org_id, item_id) DO UPDATE SET item_type = excluded.item_type,"
            + " status = excluded.status, attributes = excluded.attributes, version = excluded.version,"
            + " updated_at = excluded.updated_at, partition = excluded.partition, \"offset\" = excluded.\"offset\"";

    private final String url;
    private final int batchRows;
    private final boolean copy;
    private volatile long closedAt;

    PostgresSink(String url, int batchRows, boolean copy) {
        this.url = url;
        this.batchRows = batchRows;
        this.copy = copy;
    }

    /** When the last task was closed, after its commit, by System.nanoTime. */
    long closedAt() {
        return closedAt;
    }

    @Override
    public Set<StoreBuilder<?>> stores() {
        return Set.of(new BufferBuilder());
    }

    @Override
    public Processor<Bytes, ItemState, Void, Void> get() {
        return new Processor<>() {
            private Buffer buffer;

            @Override
            public void init(ProcessorContext<Void, Void> context) {
                buffer = context.getStateStore(STORE);
            }

            @Override
            public void process(Record<Bytes, ItemState> record) {
                buffer.put(record.key(), record.value());
            }
        };
    }

    /** What has not been written yet. Kafka Streams calls `flushCache` before it commits. */
    private final class Buffer implements StateStore, CachedStateStore<Bytes, ItemState> {
        private final Map<Bytes, ItemState> states = new LinkedHashMap<>();
        private Connection connection;

        @Override
        public void init(StateStoreContext context, StateStore root) {
            context.register(root, (key, value) -> {});
            try {
                connection = DriverManager.getConnection(url);
                connection.setAutoCommit(false);
                try (Statement statement = connection.createStatement()) {
                    statement.execute("CREATE TEMPORARY TABLE stage (org_id text, item_id text, item_type text, status text,"
                            + " attributes jsonb, version bigint, first_seen_at bigint, updated_at bigint, partition integer,"
                            + " \"offset\" bigint) ON COMMIT DELETE ROWS");
                }
                connection.commit();
            } catch (SQLException error) {
                throw new IllegalStateException(error);
            }
        }

        void put(Bytes key, ItemState state) {
            states.put(key, state);
            if (states.size() >= batchRows) {
                flushCache();
            }
        }

        @Override
        public void flushCache() {
            if (states.isEmpty()) {
                return;
            }
            try {
                if (copy) {
                    copy();
                } else {
                    insert();
                }
                connection.commit();
            } catch (SQLException | IOException error) {
                throw new IllegalStateException(error);
            }
            states.clear();
        }

        private void copy() throws SQLException, IOException {
            StringBuilder text = new StringBuilder(512 * states.size());
            for (ItemState state : states.values()) {
                field(text, state.orgId()).append('\t');
                field(text, state.itemId()).append('\t');
                field(text, state.itemType()).append('\t');
                field(text, state.status()).append('\t');
                field(text, state.attributes()).append('\t');
                text.append(state.version()).append('\t').append(state.firstSeenAt()).append('\t');
                text.append(state.updatedAt()).append('\t').append(state.partition()).append('\t');
                text.append(state.offset()).append('\n');
            }
            byte[] bytes = text.toString().getBytes(StandardCharsets.UTF_8);
            try (Statement statement = connection.createStatement()) {
                var copying = connection.unwrap(org.postgresql.PGConnection.class).getCopyAPI();
                copying.copyIn("COPY stage FROM STDIN", new ByteArrayInputStream(bytes), 1 << 20);
                String instants = String.format(INSTANTS, "first_seen_at", "updated_at");
                statement.execute("INSERT INTO peer.items (" + COLUMNS + ") SELECT org_id, item_id, item_type, status,"
                        + " attributes, version, " + instants + ", partition, \"offset\" FROM stage" + CONFLICT);
            }
        }

        private static StringBuilder field(StringBuilder text, String value) {
            boolean plain = true;
            for (int at = 0; at < value.length() && plain; at++) {
                char c = value.charAt(at);
                plain = c != '\\' && c != '\t' && c != '\n' && c != '\r';
            }
            return text.append(
                    plain ? value : value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r"));
        }

        private void insert() throws SQLException {
            String values = "(?, ?, ?, ?, ?::jsonb, ?, " + String.format(INSTANTS, "?", "?") + ", ?, ?)";
            try (PreparedStatement statement = connection.prepareStatement(
                    "INSERT INTO peer.items (" + COLUMNS + ") VALUES " + values + CONFLICT)) {
                for (ItemState state : states.values()) {
                    statement.setString(1, state.orgId());
                    statement.setString(2, state.itemId());
                    statement.setString(3, state.itemType());
                    statement.setString(4, state.status());
                    statement.setString(5, state.attributes());
                    statement.setLong(6, state.version());
                    statement.setLong(7, state.firstSeenAt());
                    statement.setLong(8, state.updatedAt());
                    statement.setInt(9, state.partition());
                    statement.setLong(10, state.offset());
                    statement.addBatch();
                }
                statement.executeBatch();
            }
        }

        @Override
        public boolean setFlushListener(CacheFlushListener<Bytes, ItemState> listener, boolean sendOldValues) {
            return false;
        }

        @Override
        public void clearCache() {
            states.clear();
        }

        @Override
        public String name() {
            return STORE;
        }

        @Override
        public void close() {
            closedAt = System.nanoTime();
            try {
                connection.close();
            } catch (SQLException error) {
                throw new IllegalStateException(error);
            }
        }

        @Override
        public boolean persistent() {
            return false;
        }

        @Override
        public boolean isOpen() {
            return true;
        }
    }

    private final class BufferBuilder implements StoreBuilder<Buffer> {
        @Override
        public StoreBuilder<Buffer> withCachingEnabled() {
            return this;
        }

        @Override
        public StoreBuilder<Buffer> withCachingDisabled() {
            return this;
        }

        @Override
        public StoreBuilder<Buffer> withLoggingEnabled(Map<String, String> config) {
            return this;
        }

        @Override
        public StoreBuilder<Buffer> withLoggingDisabled() {
            return this;
        }

        @Override
        public Buffer build() {
            return new Buffer();
        }

        @Override
        public Map<String, String> logConfig() {
            return Map.of();
        }

        @Override
        public boolean loggingEnabled() {
            return false;
        }

        @Override
        public String name() {
            return STORE;
        }
    }
}
