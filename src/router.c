/*-------------------------------------------------------------------------
 *
 * router.c
 *	  From a key's parts to the endpoint that has it.
 *
 * Layer 3.  Patterns that have their literals at the same positions are of
 * one shape.  Two of one shape differ in a literal, or they would have an
 * equal right to some key; so a key's parts at these positions say which one
 * it can be.  A key is looked up once a shape, the most literal shape first,
 * by the hash of these parts.  There are few shapes, however many endpoints.
 *
 * A router is immutable and local to the process.  It points to its
 * endpoints, and lives in the memory context it was made in.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "port/pg_bitutils.h"
#include "router.h"

StaticAssertDecl(WBC_SEGMENTS_MAX <= 32, "a shape is a bit map of 32 segments");

typedef struct Candidate
{
	uint32		shape;			/* bit i: segment i is a literal */
	uint32		hash;			/* of its literals */
	WbcEndpoint *endpoint;
} Candidate;

/* Candidates of one number of segments and one shape; sorted by hash. */
typedef struct Group
{
	uint32		shape;
	int			begin;
	int			end;
} Group;

struct WbcRouter
{
	int			n;
	Candidate  *candidates;		/* see compare_candidates() */
	Group	   *groups;			/* in the order of the candidates */
	int			first_group[WBC_SEGMENTS_MAX + 2];	/* by number of segments */
	uint32		hashed[WBC_SEGMENTS_MAX + 1];	/* positions that any of these
												 * shapes has a literal at */
};

/* ----------------------------------------------------------------
 * Making
 * ----------------------------------------------------------------
 */

static uint32
hash_text(const char *text, int len)
{
	return hash_bytes((const unsigned char *) text, len);
}

/* The hash of the literals of a shape, from the hashes of all parts. */
static inline uint32
hash_of_shape(uint32 shape, const uint32 *hashes)
{
	uint32		hash = 0;

	for (uint32 rest = shape; rest != 0; rest &= rest - 1)
		hash = hash_combine(hash, hashes[pg_rightmost_one_pos32(rest)]);
	return hash;
}

static void
set_candidate(Candidate *candidate, WbcEndpoint *endpoint)
{
	uint32		hashes[WBC_SEGMENTS_MAX];

	candidate->endpoint = endpoint;
	candidate->shape = 0;
	for (int i = 0; i < endpoint->pattern.nsegments; i++)
	{
		const WbcSegment *segment = &endpoint->pattern.segments[i];

		if (segment->is_param)
			continue;
		candidate->shape |= UINT32_C(1) << i;
		hashes[i] = hash_text(segment->text, segment->len);
	}
	candidate->hash = hash_of_shape(candidate->shape, hashes);
}

/*
 * By number of segments, then most literal first, then by shape and hash.
 */
static int
compare_candidates(const void *a, const void *b)
{
	const Candidate *x = a;
	const Candidate *y = b;
	const WbcPattern *p = &x->endpoint->pattern;
	const WbcPattern *q = &y->endpoint->pattern;

	if (p->nsegments != q->nsegments)
		return p->nsegments - q->nsegments;
	if (p->nliterals != q->nliterals)
		return q->nliterals - p->nliterals;
	if (x->shape != y->shape)
		return x->shape < y->shape ? -1 : 1;
	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return strcmp(NameStr(x->endpoint->name), NameStr(y->endpoint->name));
}

/*
 * The candidates are sorted.
 */
static void
make_groups(WbcRouter *router)
{
	int			ngroups = 0;
	int			i = 0;

	for (int n = 0; n < lengthof(router->first_group); n++)
	{
		router->first_group[n] = ngroups;
		while (i < router->n &&
			   router->candidates[i].endpoint->pattern.nsegments == n)
		{
			Group	   *group = &router->groups[ngroups++];

			group->begin = i;
			group->shape = router->candidates[i].shape;
			while (i < router->n &&
				   router->candidates[i].endpoint->pattern.nsegments == n &&
				   router->candidates[i].shape == group->shape)
				i++;
			group->end = i;
			router->hashed[n] |= group->shape;
		}
	}
}

/*
 * Makes a router, in the current memory context.
 */
WbcRouter *
wbc_router_make(WbcEndpoint **endpoints, int n)
{
	WbcRouter  *router = palloc0(sizeof(WbcRouter));

	router->n = n;
	router->candidates = palloc(Max(n, 1) * sizeof(Candidate));
	router->groups = palloc(Max(n, 1) * sizeof(Group));
	for (int i = 0; i < n; i++)
		set_candidate(&router->candidates[i], endpoints[i]);

	qsort(router->candidates, n, sizeof(Candidate), compare_candidates);
	make_groups(router);
	return router;
}

/* ----------------------------------------------------------------
 * Finding
 * ----------------------------------------------------------------
 */

/* The first candidate of the group whose hash isn't below this one. */
static inline int
lower_bound(const WbcRouter *router, const Group *group, uint32 hash)
{
	int			begin = group->begin;
	int			end = group->end;

	while (begin < end)
	{
		int			middle = begin + (end - begin) / 2;

		if (router->candidates[middle].hash < hash)
			begin = middle + 1;
		else
			end = middle;
	}
	return begin;
}

/*
 * The endpoint that has the key with these parts, or NULL.
 */
WbcEndpoint *
wbc_router_find(const WbcRouter *router, const WbcParts *parts)
{
	uint32		hashes[WBC_SEGMENTS_MAX];
	int			last = router->first_group[parts->n + 1];

	for (uint32 rest = router->hashed[parts->n]; rest != 0; rest &= rest - 1)
	{
		int			i = pg_rightmost_one_pos32(rest);

		hashes[i] = hash_text(parts->part[i].start, parts->part[i].len);
	}

	for (int g = router->first_group[parts->n]; g < last; g++)
	{
		const Group *group = &router->groups[g];
		uint32		hash = hash_of_shape(group->shape, hashes);

		for (int i = lower_bound(router, group, hash);
			 i < group->end && router->candidates[i].hash == hash; i++)
			if (wbc_pattern_matches(&router->candidates[i].endpoint->pattern,
									parts))
				return router->candidates[i].endpoint;
	}
	return NULL;
}

/*
 * How near a pattern comes to a key that it doesn't match: of those with as
 * many segments the one that shares most literals; if none shares any, the one
 * that agrees with the key for most segments from the start.  0: not at all.
 */
static int
nearness(const WbcPattern *pattern, const WbcParts *parts)
{
	int			n = Min(pattern->nsegments, parts->n);
	int			shared = 0;
	int			leading = 0;
	bool		agrees = true;

	for (int i = 0; i < n; i++)
	{
		const WbcSegment *segment = &pattern->segments[i];
		bool		equal = !segment->is_param &&
			segment->len == parts->part[i].len &&
			memcmp(segment->text, parts->part[i].start, segment->len) == 0;

		shared += equal ? 1 : 0;
		agrees = agrees && (equal || segment->is_param);
		leading += agrees ? 1 : 0;
	}

	if (pattern->nsegments == parts->n && shared > 0)
		return WBC_SEGMENTS_MAX + shared;
	return leading;
}

/*
 * Of the endpoints that are visible, the one whose pattern comes nearest to a
 * key; NULL if none does.
 */
WbcEndpoint *
wbc_router_nearest(const WbcRouter *router, const WbcParts *parts,
				   bool (*is_visible) (WbcEndpoint *endpoint))
{
	WbcEndpoint *nearest = NULL;
	int			best = 0;

	for (int i = 0; i < router->n; i++)
	{
		WbcEndpoint *endpoint = router->candidates[i].endpoint;
		int			near = nearness(&endpoint->pattern, parts);

		if (near > best && is_visible(endpoint))
		{
			nearest = endpoint;
			best = near;
		}
	}
	return nearest;
}
