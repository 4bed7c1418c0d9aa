-- What several copies of a transfer carry alike (a letter in a PDF), once for the month of the copies: it goes with them.
CREATE TABLE rendition_parts (
    transfer UUID NOT NULL,
    month BIGINT NOT NULL,
    -- Keyed, and another one in another transfer: who reads the table cannot tell that two people got the same.
    digest BYTEA NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (transfer, month, digest)
) PARTITION BY LIST (month);
