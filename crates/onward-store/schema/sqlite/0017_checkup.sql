-- `fsck` asks which transfers and copies have an entry with a certain word: with the word in these indexes it need not read the log.

DROP INDEX audit_log_transfer;
CREATE INDEX audit_log_transfer ON audit_log (transfer, position, word) WHERE transfer IS NOT NULL;
DROP INDEX audit_log_delivery;
CREATE INDEX audit_log_delivery ON audit_log (delivery, position, word) WHERE delivery IS NOT NULL;
