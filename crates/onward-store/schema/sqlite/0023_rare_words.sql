-- Entries with one of the two words that each start asks for: what is configured, and alarms. There are few of them in a log of millions.

CREATE INDEX audit_log_configured ON audit_log (recorded, position) WHERE word = 'configure';
CREATE INDEX audit_log_alarms ON audit_log (recorded, position) WHERE word = 'alarm';
