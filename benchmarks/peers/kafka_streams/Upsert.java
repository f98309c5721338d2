import java.io.IOException;
import org.apache.avro.io.BinaryDecoder;

/** An upsert of an item, as on its topic, and where it lies. What is null was not sent. */
record Upsert(
        String orgId, String itemId, String itemType, String status, String attributes, long receivedAt, int partition, long offset) {

    static Upsert read(BinaryDecoder in) throws IOException {
        Upsert read = new Upsert(
                in.readString(), in.readString(), optional(in), optional(in), optional(in), in.readLong(), -1, -1);
        in.skipString(); // request_id
        in.readInt(); // record_index
        return read;
    }

    Upsert at(int partition, long offset) {
        return new Upsert(orgId, itemId, itemType, status, attributes, receivedAt, partition, offset);
    }

    private static String optional(BinaryDecoder in) throws IOException {
        return in.readIndex() == 0 ? null : in.readString();
    }
}
