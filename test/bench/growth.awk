# Reads the lines of growth.sh and prints a table: sizes, the growth against the start, and the time of a read.
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
		print "| bytes | snapshot | refreshes | rows written | HOT | vacuums | MB at start | most | growth | us a read at first | later (longest) | kept |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
}

{ total = (value("size") + value("index")) / 1048576 }

total > most { most = total }

$3 == "look" {
	n++
	us[n] = value("us")
}

$3 == "start" {
	start = most = total
	first = median(us, n)
	n = 0
}

$3 == "end" {
	later = median(us, n)	# and sorts
	printf "| %d | %s | %d | %d | %.0f %% | %d | %.1f | %.1f | %.2f | %.1f | %.1f (%.1f) | %d |\n", value("bytes"),
		value("snapshot"), value("refreshes"), value("written"), 100 * value("hot") / value("written"), value("vacuums"),
		start, most, most / start, first, later, us[n], value("kept")
}
