import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Locale;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.ContextualFixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * The fold of items in Kafka Streams: upserts to states in a table of PostgreSQL and on a topic.
 *
 * <p>Arguments: events, topic of upserts, topic of states, schema id of states, rows of a batch, `copy` or `insert`,
 * then settings of Kafka Streams as name=value. The environment has DATABASE_URL. Prints as JSON what was done and how
 * fast, from the moment that all partitions are assigned.
 */
final class ItemsFold {
    private ItemsFold() {}

    public static void main(String[] arguments) throws Exception {
        long events = Long.parseLong(arguments[0]);
        String upsertsTopic = arguments[1];
        String statesTopic = arguments[2];
        int stateSchema = Integer.parseInt(arguments[3]);
        PostgresSink sink = new PostgresSink(
                System.getenv("DATABASE_URL"), Integer.parseInt(arguments[4]), arguments[5].equals("copy"));
        Properties settings = new Properties();
        for (int at = 6; at < arguments.length; at++) {
            String[] pair = arguments[at].split("=", 2);
            settings.put(pair[0], pair[1]);
        }

        AtomicLong folded = new AtomicLong();
        LongAdder states = new LongAdder();
        CountDownLatch done = new CountDownLatch(1);

        Serde<Upsert> upsertSerde = WireFormat.serde(1, Upsert::read, (value, out) -> {
            throw new UnsupportedOperationException();
        });
        Serde<ItemState> stateSerde = WireFormat.serde(stateSchema, ItemState::read, ItemState::write);
        StreamsBuilder builder = new StreamsBuilder();
        KStream<Bytes, ItemState> changes = builder.stream(upsertsTopic, Consumed.with(Serdes.Bytes(), upsertSerde))
                .processValues(Positions::new)
                .groupByKey(Grouped.with(Serdes.Bytes(), upsertSerde))
                .aggregate(
                        () -> null,
                        (key, upsert, before) -> {
                            long number = folded.incrementAndGet();
                            if (number == events) {
                                done.countDown();
                            }
                            return ItemState.fold(upsert, before);
                        },
                        Materialized.<Bytes, ItemState, KeyValueStore<Bytes, byte[]>>as("items")
                                .withKeySerde(Serdes.Bytes())
                                .withValueSerde(stateSerde))
                .toStream();
        changes.peek((key, state) -> states.increment()).to(statesTopic, Produced.with(Serdes.Bytes(), stateSerde));
        changes.process(sink);

        CountDownLatch running = new CountDownLatch(1);
        AtomicLong runningAt = new AtomicLong();
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING && runningAt.compareAndSet(0, System.nanoTime())) {
                running.countDown();
            }
        });
        streams.start();
        running.await();
        done.await();
        // The last batch is committed at once, not after the rest of the commit interval.
        if (!streams.close(Duration.ofSeconds(60))) {
            throw new IllegalStateException("Kafka Streams did not stop");
        }
        double seconds = (sink.closedAt() - runningAt.get()) / 1e9;
        System.out.printf(
                Locale.ROOT, "{\"seconds\": %.4f, \"states\": %d, \"memory\": %d}%n", seconds, states.sum(), residentBytes());
    }

    private static long residentBytes() throws Exception {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return 1024 * Long.parseLong(line.replaceAll("\\D", ""));
            }
        }
        throw new IllegalStateException("no VmHWM");
    }

    /** Puts into an upsert where it lies. */
    private static final class Positions extends ContextualFixedKeyProcessor<Bytes, Upsert, Upsert> {
        @Override
        public void process(FixedKeyRecord<Bytes, Upsert> record) {
            var at = context().recordMetadata().orElseThrow();
            context().forward(record.withValue(record.value().at(at.partition(), at.offset())));
        }
    }
}
