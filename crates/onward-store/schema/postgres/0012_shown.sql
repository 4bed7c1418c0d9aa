-- Lists and exports, found by what they showed. All of it follows from the events, which are sealed; `audit verify` compares them.

-- How many; NULL in rows of a binary before this.
ALTER TABLE audit_log ADD COLUMN shown BIGINT;
CREATE INDEX audit_log_unkept ON audit_log (recorded, position) WHERE shown IS NULL AND word = 'query' AND patient IS NULL;

CREATE TABLE audit_shown (
    -- A copy or a transfer; '*' where entries of the log left.
    subject TEXT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (subject, position)
);
CREATE INDEX audit_shown_position ON audit_shown (position);
