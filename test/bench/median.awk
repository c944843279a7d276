# The median, for the scripts beside it: awk -f median.awk -f report.awk.

# Sorts list[1..n].
function sort(list, n,    i, j, value) {
  for (i = 2; i <= n; i++) {
    value = list[i] + 0
    for (j = i - 1; j >= 1 && list[j] > value; j--)
      list[j + 1] = list[j]
    list[j + 1] = value
  }
}

function median(list, n) {
  sort(list, n)
  return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}
