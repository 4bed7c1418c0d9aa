-- Copies that took the place of earlier ones, of which somebody may have one where they do not go and was not told: they were given another
-- address since, or come after one that did not leave.
CREATE TABLE readdressed (mark INTEGER PRIMARY KEY AUTOINCREMENT, delivery TEXT NOT NULL) STRICT;
