# shellcheck shell=bash
# The story the demo tells. Each line is a fact and its figure, measured while it is told.

story() {
  choose_fixtures
  wbc_say ""
  wbc_say "PostgreSQL $(sql -c "SHOW server_version" | cut -d ' ' -f 1) with wbcache, and an upstream that takes $LATENCY_MS ms for an answer."
  wbc_say "Fixtures: $FIXTURES_FROM. All prices are made up."
  chapter_cold
  chapter_hot
  chapter_herd
  chapter_stale
  chapter_down
  chapter_back
  chapter_sidebar
  closing
}

chapter() {
  printf '\n%s\n' "$*"
}

# fact LABEL FIGURE
fact() {
  printf '  %-58s %s\n' "$1" "$2"
}

sql() {
  wbc_psql "$INSTANCE" "$DATABASE" "$@"
}

# Sets FIXTURE_IDS (seven of them) and FIXTURE_NAME (of the first) from what the upstream has.
choose_fixtures() {
  local lines
  mapfile -t lines < <(
    curl -sS --fail --noproxy '*' --max-time 10 -H "X-Api-Key: $WBC_UPSTREAM_KEY" \
      "http://127.0.0.1:$WBC_UPSTREAM_PORT/api/v3/fixtures/active" |
      python3 -c '
import json, sys
fixtures = json.load(sys.stdin)["data"]
first = fixtures[0]
print(first["home_team_display"], "v", first["away_team_display"] + ",", first["league"]["name"])
for fixture in fixtures[:8]:
    print(fixture["id"])'
  )
  [ "${#lines[@]}" -eq 9 ] || wbc_fail "the upstream has too few active fixtures for the demo (8 are needed)"
  FIXTURE_NAME=${lines[0]}
  FIXTURE_IDS=("${lines[@]:1}")
  FIXTURES_FROM="teams and leagues that exist, kick-off times around now"
  [ -z "${FIXTURES:-}" ] || FIXTURES_FROM="the real schedule in $(basename "$FIXTURES"), seen from the middle of its season"
}

# ask ID: sets STATUS, TIME, BYTES and ERROR, as seen by a session that has asked something before.
ask() {
  local answer microseconds
  answer=$(sql -c "SELECT FROM demo.ask('demo:warm-up')" -c "SELECT * FROM demo.ask(demo.key('$1'))")
  IFS='|' read -r STATUS microseconds BYTES ERROR <<<"$answer"
  TIME=$(readable "$microseconds")
}

# readable MICROSECONDS
readable() {
  awk -v t="$1" 'BEGIN {
    if (t < 10) printf "%.1f µs\n", t
    else if (t < 1000) printf "%d µs\n", t
    else if (t < 10000) printf "%.1f ms\n", t / 1000
    else if (t < 2000000) printf "%d ms\n", t / 1000
    else printf "%.1f s\n", t / 1e6
  }'
}

# Requests the upstream has had.
requests() {
  wbc_upstream_control counts | python3 -c 'import json, sys; print(json.load(sys.stdin)["total"])'
}

# requests_since NUMBER: in words.
requests_since() {
  local n=$(($(requests) - $1))
  if [ "$n" -eq 1 ]; then echo "1 upstream request"; else echo "$n upstream requests"; fi
}

# Waits until the value of the first fixture is past its soft TTL.
grow_stale() {
  sql -c "SELECT demo.grow_stale(demo.key('${FIXTURE_IDS[0]}'))" >/dev/null
}

chapter_cold() {
  local before sent
  chapter "1. A key nobody has asked for: $FIXTURE_NAME"
  before=$(requests)
  ask "${FIXTURE_IDS[0]}"
  sent=$(requests_since "$before")
  fact "first lookup ($STATUS, $sent)" "$TIME for $BYTES bytes"
}

chapter_hot() {
  local id=${FIXTURE_IDS[0]} inside outside
  chapter "2. The same key, hot"
  inside=$(sql -c "SELECT demo.mean_get(demo.key('$id'), 10000)")
  outside=$(mean_get "$id")
  fact "one get inside the server, mean of 10,000" "$(readable "$inside")"
  fact "one get over a connection, mean of one client for 1 s" "$(readable "$outside")"
}

# mean_get ID: microseconds of a prepared get, with the way to the server and back.
mean_get() {
  clients "$1" "SELECT wbcache.get(:key)" -c 1 -T 1 | awk '/^latency average/ { print $4 * 1000 }'
}

# clients ID STATEMENT OPTION...: pgbench; the statement sees the key as a parameter.
clients() {
  local key=props:categories:$1 script=$WBC_WORK/tmp/clients.sql log=$WBC_WORK/tmp/clients.log
  printf '%s;\n' "$2" >"$script"
  shift 2
  pgbench -n -M prepared -D "key=$key" -f "$script" -h "$WBC_WORK/$INSTANCE" -p 5432 -U postgres "$@" "$DATABASE" \
    2>"$log" || {
    head -n 20 "$log" >&2
    return 1
  }
}

chapter_herd() {
  local before sent answers distinct first last
  chapter "3. 100 clients at once on one cold key"
  before=$(requests)
  clients "${FIXTURE_IDS[1]}" "SELECT demo.ask_at(:key, to_timestamp(:start))" -c 100 -j 2 -t 1 \
    -D "start=$(($(date +%s) + 3))" >/dev/null
  sent=$(requests_since "$before")
  IFS='|' read -r answers distinct first last < <(
    sql -c "SELECT count(*), count(DISTINCT digest),
                   extract(epoch FROM max(finished - started)) * 1e6,
                   extract(epoch FROM max(finished) - min(finished)) * 1e6
            FROM demo.answer"
  )
  fact "answers, different values among them" "$answers, $distinct"
  fact "sent upstream" "$sent"
  fact "longest wait of a client" "$(readable "$first")"
  fact "between the first answer and the last" "$(readable "$last")"
}

chapter_stale() {
  local before sent answer status microseconds refreshed
  chapter "4. A key past its soft TTL (2 s)"
  grow_stale
  before=$(requests)
  answer=$(sql -c "SELECT FROM demo.ask('demo:warm-up')" \
    -c "SELECT * FROM demo.ask_until_fresh(demo.key('${FIXTURE_IDS[0]}'))")
  IFS='|' read -r status microseconds refreshed <<<"$answer"
  sent=$(requests_since "$before")
  fact "the old value is served at once ($status)" "$(readable "$microseconds")"
  fact "a fresh one has come in behind ($sent)" "after $(readable "$refreshed")"
}

chapter_down() {
  local i=2
  chapter "5. The upstream goes down"
  grow_stale
  wbc_upstream_stop
  ask "${FIXTURE_IDS[0]}"
  fact "the key it knew ($STATUS)" "$TIME"
  ask "${FIXTURE_IDS[1]}"
  fact "another one ($STATUS)" "$TIME"
  # The refreshes those two started, past their soft TTL, have failed. So do fetches of keys without a value.
  while [ "$(breaker)" != open ] && [ "$i" -lt 7 ]; do
    ask "${FIXTURE_IDS[i]}"
    [ "$i" -gt 2 ] || fact_error "a key it never had"
    i=$((i + 1))
  done
  fact "breaker after $(failures) failures in a row" "$(breaker)"
  ask "${FIXTURE_IDS[7]}"
  fact_error "another key it never had"
  ask "${FIXTURE_IDS[0]}"
  fact "the key it knew, still ($STATUS)" "$TIME"
}

# fact_error LABEL: what ask found, with the error below it.
fact_error() {
  fact "$1 (error)" "$TIME"
  wbc_say "    $ERROR"
}

failures() {
  sql -c "SELECT consecutive_failures FROM wbcache.stat_server WHERE server = 'optic_odds'"
}

breaker() {
  sql -c "SELECT breaker_state FROM wbcache.stat_server WHERE server = 'optic_odds'"
}

chapter_back() {
  local since
  chapter "6. The upstream comes back"
  upstream_begin --port "$WBC_UPSTREAM_PORT"
  since=$(date +%s%N)
  wbc_wait 30 answered "${FIXTURE_IDS[7]}" || wbc_fail "no answer within 30 s of the upstream's return: $ERROR"
  fact "the key it never had ($STATUS)" "after $(readable $((($(date +%s%N) - since) / 1000))), the breaker's cool-down being 5 s"
  fact "breaker" "$(breaker)"
}

# answered ID: is there a value for it (now)?
answered() {
  ask "$1"
  [ "$STATUS" != error ]
}

# The upstream's fixtures become a table of the user's.
chapter_sidebar() {
  local games refreshed cold hot after live
  chapter "7. A sidebar of the fixtures"
  games=$(upstream_fixtures | sql -c "COPY demo.event FROM STDIN" -c "SELECT count(*) FROM demo.event")
  refreshed=$(sql -c "SELECT wbcache.refresh_sidebar_data()")
  IFS='|' read -r cold hot after live < <(sql -c "CALL demo.change('${FIXTURE_IDS[0]}', NULL, NULL, NULL, NULL)")
  fact "wbcache.bind_events, $games games" "$refreshed"
  fact "first get_sidebar" "$(readable "$cold")"
  fact "the same again, mean of 1,000" "$(readable "$hot")"
  fact "a game goes live; the next get_sidebar has it ($live)" "after $(readable "$after")"
}

# Lines for COPY: id, sport, league, its name, status, start.
upstream_fixtures() {
  curl -sS --fail --noproxy '*' --max-time 10 -H "X-Api-Key: $WBC_UPSTREAM_KEY" \
    "http://127.0.0.1:$WBC_UPSTREAM_PORT/api/v3/fixtures/active" |
    python3 -c '
import json, sys
for f in json.load(sys.stdin)["data"]:
    print(f["id"], f["sport"]["id"], f["league"]["id"], f["league"]["name"], f["status"], f["start_date"], sep="\t")'
}

closing() {
  local psql=psql
  command -v /usr/bin/psql >/dev/null || psql=$(wbc_pg_config --bindir)/psql
  wbc_say ""
  wbc_say "Both keep running. To look around:"
  wbc_say "  $psql -h $WBC_WORK/$INSTANCE -U postgres $DATABASE"
  wbc_say "    SELECT * FROM wbcache.lookup('props:categories:${FIXTURE_IDS[0]}');"
  wbc_say "    SELECT * FROM wbcache.stat_endpoint;    -- and stat_coalescer, stat_server, stat_memory, stat_worker"
  wbc_say "To end it and remove everything: make demo-stop"
}
