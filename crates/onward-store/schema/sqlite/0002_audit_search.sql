-- Finding audit entries: by agent, by copy, and by the organisations whose entries they are. All of it follows from the
-- tables that are there; the log itself is the event and its hash.

-- NULL in rows of the previous binary.
ALTER TABLE audit_log ADD COLUMN agent TEXT;
UPDATE audit_log SET agent = json_extract(CAST(event AS TEXT), '$.agent[0].name') WHERE json_valid(CAST(event AS TEXT));
CREATE INDEX audit_log_delivery ON audit_log (delivery, position) WHERE delivery IS NOT NULL;

-- Whose entry it is: the agent's organisation, the sender of the transfer, the recipient of the copy.
CREATE TABLE audit_parties (
    organisation TEXT NOT NULL,
    recorded INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (organisation, recorded, position)
) STRICT, WITHOUT ROWID;

-- A trigger, so that a previous binary's entries are found as well.
CREATE TRIGGER audit_log_parties AFTER INSERT ON audit_log BEGIN
    INSERT OR IGNORE INTO audit_parties (organisation, recorded, position)
    SELECT organisation, NEW.recorded, NEW.position FROM (
        SELECT NEW.organisation AS organisation
        UNION SELECT sender FROM transfers WHERE id = NEW.transfer
        UNION SELECT recipient FROM deliveries WHERE id = NEW.delivery
    ) WHERE organisation IS NOT NULL;
END;

INSERT INTO audit_parties (organisation, recorded, position)
SELECT organisation, recorded, position FROM audit_log WHERE organisation IS NOT NULL
UNION SELECT t.sender, a.recorded, a.position FROM audit_log a JOIN transfers t ON t.id = a.transfer
UNION SELECT d.recipient, a.recorded, a.position FROM audit_log a JOIN deliveries d ON d.id = a.delivery;
