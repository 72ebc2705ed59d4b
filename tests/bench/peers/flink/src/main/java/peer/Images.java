package peer;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.sql.Timestamp;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.HashSet;
import java.util.Set;
import java.util.TreeMap;

import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.jdbc.JdbcConnectionOptions;
import org.apache.flink.connector.jdbc.JdbcExecutionOptions;
import org.apache.flink.connector.jdbc.core.datastream.sink.JdbcSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.header.Header;

/**
 * The catch-up in Flink: images, unique by content in windows of 30 s.  The
 * first copy goes to a file before the shuffle, so that no image's bytes cross
 * it; that is right because all copies of a content lie in one partition.
 */
public class Images {
    static final long WINDOW = 30_000;

    public static class Image {
        public String hash, name;
        public long ts;
        public byte[] data;
    }

    public static class Meta {
        public String hash, name;
    }

    public static class Row {
        public String hash, name;
        public long window, count;
    }

    static String env(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null ? otherwise : value;
    }

    public static class Decode
            implements KafkaRecordDeserializationSchema<Image> {
        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> r,
                                Collector<Image> out) {
            Header name = r.headers().lastHeader("ce_subject");
            Image i = new Image();
            i.hash = new String(r.key(), StandardCharsets.UTF_8);
            i.name = name == null ? ""
                : new String(name.value(), StandardCharsets.UTF_8);
            i.ts = r.timestamp();
            i.data = r.value();
            out.collect(i);
        }

        @Override
        public TypeInformation<Image> getProducedType() {
            return TypeInformation.of(Image.class);
        }
    }

    /** What was seen is in no checkpoint: a file written again is the same. */
    public static class Store extends RichMapFunction<Image, Meta> {
        static final DateTimeFormatter DIR = DateTimeFormatter
            .ofPattern("yyyy/MM/dd/HH/mm:ss").withZone(ZoneOffset.UTC);
        final String root;
        transient TreeMap<Long, Set<String>> seen;

        Store(String root) {
            this.root = root;
        }

        @Override
        public void open(OpenContext c) {
            seen = new TreeMap<>();
        }

        @Override
        public Meta map(Image i) throws Exception {
            long w = TimeWindow.getWindowStartWithOffset(i.ts, 0, WINDOW);
            Path dir = Path.of(root, DIR.format(Instant.ofEpochMilli(w)));
            Set<String> s = seen.get(w);
            if (s == null) {
                Files.createDirectories(dir);
                seen.put(w, s = new HashSet<>());
                seen.headMap(w - 20 * WINDOW).clear();
            }
            if (s.add(i.hash)) {
                Path part = dir.resolve("." + i.hash + ".part");
                Files.write(part, i.data);
                Files.move(part, dir.resolve(i.hash + ".jpg"),
                           StandardCopyOption.ATOMIC_MOVE,
                           StandardCopyOption.REPLACE_EXISTING);
            }
            Meta m = new Meta();
            m.hash = i.hash;
            m.name = i.name;
            return m;
        }
    }

    public static class Count implements AggregateFunction<Meta, Row, Row> {
        @Override
        public Row createAccumulator() {
            return new Row();
        }

        @Override
        public Row add(Meta m, Row r) {
            if (r.count++ == 0) {
                r.hash = m.hash;
                r.name = m.name;
            }
            return r;
        }

        @Override
        public Row getResult(Row r) {
            return r;
        }

        @Override
        public Row merge(Row a, Row b) {
            a.count += b.count;
            return a;
        }
    }

    public static class AddWindow
            extends ProcessWindowFunction<Row, Row, String, TimeWindow> {
        @Override
        public void process(String k, Context c, Iterable<Row> in,
                            Collector<Row> out) {
            Row r = in.iterator().next();
            r.window = c.window().getStart();
            out.collect(r);
        }
    }

    public static void main(String[] args) throws Exception {
        Configuration c = new Configuration();
        c.setString("execution.checkpointing.interval", "10000ms");
        c.setString("execution.checkpointing.dir",
                    "file://" + env("CHECKPOINTS", "/tmp/checkpoints"));
        c.setString("state.backend.type", "hashmap");
        c.setString("pipeline.object-reuse", "true");
        c.setString("taskmanager.memory.network.max", "128mb");
        c.setString("taskmanager.memory.segment-size", "32kb");
        StreamExecutionEnvironment env =
            StreamExecutionEnvironment.createLocalEnvironment(2, c);

        KafkaSource<Image> source = KafkaSource.<Image>builder()
            .setBootstrapServers(env("BROKERS", ""))
            .setTopics(env("TOPIC", ""))
            .setGroupId(env("GROUP", ""))
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setBounded(OffsetsInitializer.latest())
            .setProperty("max.partition.fetch.bytes", "8388608")
            .setDeserializer(new Decode())
            .build();

        env.fromSource(source, WatermarkStrategy
                       .forBoundedOutOfOrderness(Duration.ofSeconds(5)),
                       "images")
            .map(new Store(env("STORE", "")))
            .keyBy(m -> m.hash)
            .window(TumblingEventTimeWindows.of(Duration.ofMillis(WINDOW)))
            .aggregate(new Count(), new AddWindow())
            .sinkTo(JdbcSink.<Row>builder()
                .withQueryStatement(
                    "INSERT INTO peer (window_start, hash, name, count) "
                    + "VALUES (?,?,?,?) ON CONFLICT (window_start, hash) "
                    + "DO UPDATE SET count = EXCLUDED.count",
                    (s, r) -> {
                        s.setTimestamp(1, new Timestamp(r.window));
                        s.setString(2, r.hash);
                        s.setString(3, r.name);
                        s.setLong(4, r.count);
                    })
                .withExecutionOptions(JdbcExecutionOptions.builder()
                    .withBatchSize(1000).withBatchIntervalMs(200)
                    .withMaxRetries(3).build())
                .buildAtLeastOnce(
                    new JdbcConnectionOptions.JdbcConnectionOptionsBuilder()
                        .withUrl(env("JDBC", ""))
                        .withDriverName("org.postgresql.Driver").build()));
        env.execute("images");
    }
}
