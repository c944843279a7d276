/*-------------------------------------------------------------------------
 *
 * pattern.h
 *	  Key patterns such as 'props:{fixture_id}:{category}', and templates
 *	  that are filled from a key's parts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_PATTERN_H
#define WBC_PATTERN_H

#include "lib/stringinfo.h"
#include "wbcache.h"

/* One segment: a literal, or a parameter that takes any non-empty text. */
typedef struct WbcSegment
{
	bool		is_param;
	int			len;
	char	   *text;			/* the literal, or the parameter's name */
} WbcSegment;

typedef struct WbcPattern
{
	char	   *source;			/* as the user wrote it */
	int			nsegments;
	int			nliterals;
	WbcSegment	segments[WBC_SEGMENTS_MAX];
} WbcPattern;

/* A key cut at its colons; points into the key. */
typedef struct WbcParts
{
	int			n;
	struct
	{
		const char *start;
		int			len;
	}			part[WBC_SEGMENTS_MAX];
} WbcParts;

/* Where a template's text goes, which decides how parts are written. */
typedef enum WbcFill
{
	WBC_FILL_PLAIN,				/* as they are: tags */
	WBC_FILL_URL				/* percent-encoded: path and query */
} WbcFill;

extern bool wbc_pattern_has_control(const char *text);
extern void wbc_pattern_parse(const char *source, WbcPattern *pattern);
extern bool wbc_pattern_split(const char *key, int len, WbcParts *parts);
extern bool wbc_pattern_matches(const WbcPattern *pattern, const WbcParts *parts);
extern bool wbc_pattern_overlaps(const WbcPattern *a, const WbcPattern *b);
extern bool wbc_pattern_equal_right(const WbcPattern *a, const WbcPattern *b);
extern void wbc_pattern_check_template(const WbcPattern *pattern,
									   const char *what, const char *template);
extern void wbc_pattern_fill(const WbcPattern *pattern, const WbcParts *parts,
							 const char *template, WbcFill fill,
							 StringInfo out);

#endif							/* WBC_PATTERN_H */
