# Reads the lines that bench.sh collects ("round=1 transport=unix case=get clients=1 ... rps=... p50_us=... p99_us=...")
# and prints medians, ratios and the goals of wbcache. Ratios are cut off after three digits, never rounded up.

BEGIN {
  split("get get-binary get-fastpath empty empty-fastpath table redis get_many mget", cases, " ")
  n_ratios = split("get/empty get-fastpath/empty-fastpath get/redis get-fastpath/redis empty/redis " \
    "empty-fastpath/redis get/table get_many/mget", ratios, " ")
  name["unix"] = "Unix socket"
  name["tcp"] = "TCP loopback"
}

{
  for (i = 1; i <= NF; i++) {
    at = index($i, "=")
    field[substr($i, 1, at - 1)] = substr($i, at + 1)
  }
  setting = field["transport"] SUBSEP field["clients"]
  if (!(setting in known)) {
    known[setting] = 1
    settings[++n_settings] = setting
  }
  if (field["round"] > rounds)
    rounds = field["round"] + 0
  rps[setting, field["case"], field["round"]] = field["rps"]
  p50[setting, field["case"], field["round"]] = field["p50_us"]
  p99[setting, field["case"], field["round"]] = field["p99_us"]
}

function median_of(figures, setting, which,    r, list) {
  for (r = 1; r <= rounds; r++)
    list[r] = figures[setting, which, r] + 0
  return median(list, rounds)
}

function cut(ratio) {
  return sprintf("%.3f", int(ratio * 1000) / 1000)
}

# Sets middle, lowest and highest of the rounds' ratios of requests a second.
function compare(setting, ratio,    r, list, part) {
  split(ratio, part, "/")
  for (r = 1; r <= rounds; r++)
    list[r] = rps[setting, part[1], r] / rps[setting, part[2], r]
  middle = median(list, rounds)
  lowest = list[1]
  highest = list[rounds]
}

function clients_of(setting,    part) {
  split(setting, part, SUBSEP)
  return part[2] (part[2] == 1 ? " client" : " clients")
}

function transport_of(setting,    part) {
  split(setting, part, SUBSEP)
  return part[1]
}

function title(setting) {
  return name[transport_of(setting)] ", " clients_of(setting)
}

function print_medians(setting,    i) {
  printf "\n%-24s %12s %12s %12s\n", title(setting), "requests/s", "p50 us", "p99 us"
  for (i = 1; i in cases; i++)
    printf "  %-22s %12d %12.1f %12.1f\n", cases[i], median_of(rps, setting, cases[i]), \
      median_of(p50, setting, cases[i]), median_of(p99, setting, cases[i])
}

function print_ratios(    i, s) {
  printf "\n%-30s", "Ratios of requests/s"
  for (s = 1; s <= n_settings; s++)
    printf " %23s", title(settings[s])
  printf "\n"
  for (i = 1; i <= n_ratios; i++) {
    printf "  %-28s", ratios[i]
    for (s = 1; s <= n_settings; s++) {
      compare(settings[s], ratios[i])
      printf " %23s", cut(middle) " (" cut(lowest) "-" cut(highest) ")"
    }
    printf "\n"
  }
}

function print_goal(setting, ratio, goal,    part) {
  compare(setting, ratio)
  split(ratio, part, "/")
  printf "%s vs %s, %s, %s: %s (goal %s, %s)\n", part[1], part[2], clients_of(setting), name[transport_of(setting)], \
    cut(middle), goal, (middle >= goal ? "met" : "not met")
}

END {
  for (s = 1; s <= n_settings; s++)
    print_medians(settings[s])
  print_ratios()
  printf "\n"
  for (s = 1; s <= n_settings; s++)
    if (clients_of(settings[s]) == "8 clients")
      print_goal(settings[s], "get/empty", 0.95)
  for (s = 1; s <= n_settings; s++)
    if (transport_of(settings[s]) == "unix") {
      print_goal(settings[s], "get/redis", 0.9)
      print_goal(settings[s], "get-fastpath/redis", 0.95)
    }
}
