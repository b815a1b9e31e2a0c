-- Catalog, version 2: what installs have cost, summed up a site. Totals are JSON.

-- What each machine told last, so that a report that is repeated, or comes after lost ones, counts what is new and nothing else.
CREATE TABLE machine_traffic (
    machine BLOB NOT NULL REFERENCES machine,
    package BLOB NOT NULL REFERENCES package,
    totals  TEXT NOT NULL,
    PRIMARY KEY (machine, package)
) STRICT, WITHOUT ROWID;

-- What was added while the machines belonged to the site.
CREATE TABLE site_traffic (
    site   BLOB PRIMARY KEY REFERENCES site,
    totals TEXT NOT NULL
) STRICT;
