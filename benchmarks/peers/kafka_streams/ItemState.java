import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;

/** What all upserts of an item add up to, as on the state topic. */
record ItemState(
        String orgId,
        String itemId,
        String itemType,
        String status,
        String attributes,
        long version,
        long firstSeenAt,
        long updatedAt,
        int partition,
        long offset) {

    private static final ObjectMapper JSON = new ObjectMapper();
    private static final ObjectReader OBJECTS = JSON.readerFor(ObjectNode.class);

    /** The state after an upsert; `before` is null for a new item. */
    static ItemState fold(Upsert upsert, ItemState before) {
        String status = upsert.status() != null ? upsert.status() : before != null ? before.status : "active";
        String itemType = upsert.itemType() != null || before == null ? upsert.itemType() : before.itemType;
        return new ItemState(
                upsert.orgId(),
                upsert.itemId(),
                itemType,
                status,
                merged(before == null ? null : before.attributes, upsert.attributes()),
                before == null ? 1 : before.version + 1,
                before == null ? upsert.receivedAt() : before.firstSeenAt,
                upsert.receivedAt(),
                upsert.partition(),
                upsert.offset());
    }

    private static String merged(String before, String carried) {
        if (before == null || carried == null) {
            return carried != null ? carried : before != null ? before : "{}";
        }
        try {
            ObjectNode attributes = OBJECTS.readValue(before);
            attributes.setAll((ObjectNode) OBJECTS.readValue(carried));
            return JSON.writeValueAsString(attributes);
        } catch (JsonProcessingException error) {
            throw new IllegalStateException(error);
        }
    }

    static ItemState read(BinaryDecoder in) throws IOException {
        String orgId = in.readString();
        String itemId = in.readString();
        String itemType = in.readString();
        String status = in.readString();
        String attributes = in.readString();
        long version = in.readLong();
        long firstSeenAt = in.readLong();
        long updatedAt = in.readLong();
        in.readInt(); // generation
        return new ItemState(
                orgId, itemId, itemType, status, attributes, version, firstSeenAt, updatedAt, in.readInt(), in.readLong());
    }

    void write(BinaryEncoder out) throws IOException {
        out.writeString(orgId);
        out.writeString(itemId);
        out.writeString(itemType);
        out.writeString(status);
        out.writeString(attributes);
        out.writeLong(version);
        out.writeLong(firstSeenAt);
        out.writeLong(updatedAt);
        out.writeInt(0); // generation
        out.writeInt(partition);
        out.writeLong(offset);
    }
}
