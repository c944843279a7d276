# Reads the lines of bench_tag ("side=wbcache keys=1000 round=1 us=40.1") and prints the median of the rounds, with the
# lowest and the highest.

{
  for (i = 1; i <= NF; i++) {
    at = index($i, "=")
    field[substr($i, 1, at - 1)] = substr($i, at + 1)
  }
  of = field["side"] SUBSEP field["keys"]
  if (!(of in n))
    order[++kinds] = of
  us[of, ++n[of]] = field["us"] + 0
}

END {
  printf "\n%-24s %10s %14s %24s\n", "All keys of a game", "keys", "median us", "lowest - highest us"
  for (k = 1; k <= kinds; k++) {
    split(order[k], part, SUBSEP)
    for (i = 1; i <= n[order[k]]; i++)
      list[i] = us[order[k], i]
    sort(list, n[order[k]])
    printf "  %-22s %10d %14.1f %24s\n", part[1], part[2], median(list, n[order[k]]),
      sprintf("%.1f - %.1f", list[1], list[n[order[k]]])
  }
}
