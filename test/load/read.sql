-- pgbench: a client's read. Game 1 is the most popular one.
\set what random(1, 100)
\set game random_zipfian(1, :games, 1.1)
\if :what <= 5
SELECT load.read('sidebar', 0);
\elif :what <= 55
SELECT load.read('odds', :game);
\else
SELECT load.read('props', :game);
\endif
