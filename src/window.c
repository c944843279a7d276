/*-------------------------------------------------------------------------
 *
 * window.c
 *	  How much counters have grown within the last five minutes.
 *
 * Layer 1.  Whoever counts knows nothing of it: now and then somebody puts down
 * what the counters say, and a reader subtracts the newest of these snapshots
 * that is at least five minutes old.  So the window is five minutes long and as
 * much longer as the snapshots are apart; how long exactly, the reader is told.
 * While there is none that old, the oldest one does, and the window is shorter.
 *
 * No clock is read here and no lock is taken.  Counters only grow; those of a
 * window that begins are 0.  A clock that was set back makes snapshots that are
 * in the future now: they are as if they had never been taken.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "window.h"

/* The snapshot that is so many before the newest. */
static const WbcSnapshot *
snapshot(const WbcWindow *window, int before)
{
	return &window->ring[(window->newest + WBC_WINDOW_SNAPSHOTS - before) %
						 WBC_WINDOW_SNAPSHOTS];
}

/*
 * All counters are 0 from now on.
 */
void
wbc_window_begin(WbcWindow *window, TimestampTz now)
{
	memset(window, 0, sizeof(WbcWindow));
	window->n = 1;
	window->ring[0].at = now;
}

/*
 * Is it time for another snapshot?
 */
static bool
is_due(const WbcWindow *window, TimestampTz now)
{
	TimestampTz last = snapshot(window, 0)->at;

	return now >= last + WBC_WINDOW_STEP || now < last;
}

/*
 * Puts down what the counters say, when it is time.
 */
void
wbc_window_put(WbcWindow *window, TimestampTz now, const uint64 *count)
{
	WbcSnapshot *new;

	while (window->n > 0 && snapshot(window, 0)->at > now)
	{
		window->newest = (window->newest + WBC_WINDOW_SNAPSHOTS - 1) %
			WBC_WINDOW_SNAPSHOTS;
		window->n--;
	}
	if (window->n > 0 && !is_due(window, now))
		return;

	window->newest = (window->newest + 1) % WBC_WINDOW_SNAPSHOTS;
	window->n = Min(window->n + 1, WBC_WINDOW_SNAPSHOTS);
	new = &window->ring[window->newest];
	new->at = now;
	memcpy(new->count, count, sizeof(new->count));
}

/*
 * Given what the counters say now, says by how much they have grown, and
 * returns within which time, in microseconds.
 */
int64
wbc_window_read(const WbcWindow *window, TimestampTz now, const uint64 *count,
				uint64 *growth)
{
	const WbcSnapshot *from = NULL;

	for (int i = 0; i < window->n; i++)
	{
		const WbcSnapshot *each = snapshot(window, i);

		if (each->at > now)
			continue;
		from = each;
		if (each->at <= now - WBC_WINDOW_LENGTH)
			break;
	}
	for (int i = 0; i < WBC_WINDOW_COUNTERS; i++)
		growth[i] = from == NULL ? 0 : count[i] - from->count[i];
	return from == NULL ? 0 : now - from->at;
}
