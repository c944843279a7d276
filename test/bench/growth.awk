# Reads the lines of growth.sh and prints a table: sizes, the growth against the start, and the speed against that before.
# After median.awk.

function value(name,    i, pair) {
	for (i = 1; i <= NF; i++) {
		split($i, pair, "=")
		if (pair[1] == name)
			return pair[2]
	}
	return ""
}

BEGIN {
	if (head)
		print "| bytes | snapshot | refreshes | rows written | HOT | vacuums | MB at start | most | growth | reads/s at start | speed later | kept |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
}

{ total = (value("size") + value("index")) / 1048576 }

total > most { most = total }

$3 == "look" {
	n++
	reads[n] = value("reads")
	speed[n] = 2 * value("reads") / (value("before") + value("after"))
}

$3 == "start" {
	start = most = total
	reads_first = median(reads, n)
	first = median(speed, n)
	n = 0
}

$3 == "end" {
	later = median(speed, n)	# and sorts
	printf "| %d | %s | %d | %d | %.0f %% | %d | %.1f | %.1f | %.2f | %.0f | %.2f (lowest %.2f) | %d |\n", value("bytes"),
		value("snapshot"), value("refreshes"), value("written"), 100 * value("hot") / value("written"), value("vacuums"),
		start, most, most / start, reads_first, later / first, speed[1] / first, value("kept")
}
