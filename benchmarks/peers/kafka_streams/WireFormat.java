import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** Serdes of Avro records in Confluent's wire format, with decoder, encoder and buffer used again by each thread. */
final class WireFormat {
    private static final int PREFIX_BYTES = 5;

    interface Reader<T> {
        T read(BinaryDecoder in) throws IOException;
    }

    interface Writer<T> {
        void write(T value, BinaryEncoder out) throws IOException;
    }

    private WireFormat() {}

    static <T> Serde<T> serde(int schemaId, Reader<T> reader, Writer<T> writer) {
        byte[] prefix = ByteBuffer.allocate(PREFIX_BYTES).put((byte) 0).putInt(schemaId).array();
        ThreadLocal<BinaryDecoder> decoders = new ThreadLocal<>();
        ThreadLocal<BinaryEncoder> encoders = new ThreadLocal<>();
        ThreadLocal<ByteArrayOutputStream> buffers = ThreadLocal.withInitial(() -> new ByteArrayOutputStream(1024));
        return Serdes.serdeFrom(
                (topic, value) -> {
                    if (value == null) {
                        return null;
                    }
                    try {
                        ByteArrayOutputStream buffer = buffers.get();
                        buffer.reset();
                        buffer.write(prefix, 0, PREFIX_BYTES);
                        BinaryEncoder out = EncoderFactory.get().directBinaryEncoder(buffer, encoders.get());
                        encoders.set(out);
                        writer.write(value, out);
                        return buffer.toByteArray();
                    } catch (IOException error) {
                        throw new UncheckedIOException(error);
                    }
                },
                (topic, bytes) -> {
                    if (bytes == null) {
                        return null;
                    }
                    try {
                        int length = bytes.length - PREFIX_BYTES;
                        BinaryDecoder in = DecoderFactory.get().binaryDecoder(bytes, PREFIX_BYTES, length, decoders.get());
                        decoders.set(in);
                        return reader.read(in);
                    } catch (IOException error) {
                        throw new UncheckedIOException(error);
                    }
                });
    }
}
