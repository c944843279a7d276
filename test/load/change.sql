-- pgbench: a change of a live game. A price moves by 2.5 % (standard deviation); above 5 % it counts as moved.
\set what random(1, 100)
\set game random(1, :live_games)
\set book random(1, 5)
\set move random_gaussian(-150, 150, 6)
\if :what <= 5
UPDATE event SET status = CASE status WHEN 'live' THEN 'half' ELSE 'live' END WHERE n = :game;
\else
UPDATE odds SET price = least(20, greatest(1.1, price * (1 + :move / 1000.0))) WHERE n = :game AND book = :book;
\endif
