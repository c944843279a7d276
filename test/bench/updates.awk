# Reads lines "name|limit|round|plain or watched|milliseconds" and prints the ratios of the rounds. Ratios are rounded up
# to three digits.

{
  if (!($1 in limit))
    order[++kinds] = $1
  limit[$1] = $2
  ms[$1, $3, $4] = $5 + 0
  if ($3 > rounds)
    rounds = $3 + 0
}

function up(ratio) {
  return sprintf("%.3f", int(ratio * 1000 + 0.999999) / 1000)
}

END {
  printf "\n%-26s %12s %12s   %s\n", "UPDATE of 100,000 rows", "plain ms", "watched ms", "ratio (lowest - highest)"
  for (k = 1; k <= kinds; k++) {
    name = order[k]
    for (r = 1; r <= rounds; r++) {
      plain[r] = ms[name, r, "plain"]
      watched[r] = ms[name, r, "watched"]
      ratio[r] = watched[r] / plain[r]
    }
    middle = median(ratio, rounds)
    printf "  %-24s %12.1f %12.1f   %s (%s - %s), goal %s: %s\n", name, median(plain, rounds), median(watched, rounds),
      up(middle), up(ratio[1]), up(ratio[rounds]), limit[name], (middle <= limit[name] ? "met" : "not met")
  }
}
