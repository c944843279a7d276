# Reads the lines of growth.sh and prints a table: sizes, the growth against the start, and the speed against the first look.

function value(name,    i, pair) {
	for (i = 1; i <= NF; i++) {
		split($i, pair, "=")
		if (pair[1] == name)
			return pair[2]
	}
	return ""
}

function median(list, n,    i, j, swap) {
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && list[j - 1] > list[j]; j--) {
			swap = list[j]; list[j] = list[j - 1]; list[j - 1] = swap
		}
	return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}

{ total = (value("size") + value("index")) / 1048576 }

$3 == "start" { start = most = total; nlooks = 0 }

total > most { most = total }

$3 == "look" {
	nlooks++
	speed = value("reads") / value("nothing")
	if (nlooks == 1) {
		first = speed
		reads = value("reads")
	} else
		ratios[nlooks - 1] = speed / first
	lowest = nlooks == 2 || (nlooks > 2 && ratios[nlooks - 1] < lowest) ? ratios[nlooks - 1] : lowest
}

BEGIN {
	if (head)
		print "| bytes | snapshot | refreshes | rows written | HOT | vacuums | MB at start | most | growth | reads/s at start | speed later | kept |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
}

$3 == "end" {
	printf "| %d | %s | %d | %d | %.0f %% | %d | %.1f | %.1f | %.2f | %.0f | %.2f (lowest %.2f) | %d |\n", value("bytes"),
		value("snapshot"), value("refreshes"), value("written"), 100 * value("hot") / value("written"), value("vacuums"),
		start, most, most / start, reads, median(ratios, nlooks - 1), lowest, value("kept")
}
