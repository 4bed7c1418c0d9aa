-- What several copies of a transfer carry alike (a letter in a PDF), once for the month of the copies, and as long as one of them has it.
CREATE TABLE rendition_parts (
    transfer UUID NOT NULL,
    month BIGINT NOT NULL,
    -- Keyed, and another one in another transfer. Lengths tell what they tell: two people's letters of one length may be the same.
    digest BYTEA NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (transfer, month, digest)
) PARTITION BY LIST (month);
