-- The oldest program that can serve on this schema, by the newest schema that it knows: so that a program may start on a newer schema
-- that it can serve on. Programs that know no schema from here on do not look, and refuse a newer one. Its one row is written with every
-- step from this one on. Not a column of onward_schema, whose row is locked by whoever starts at the same time.
CREATE TABLE onward_programs (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    oldest BIGINT NOT NULL
);
