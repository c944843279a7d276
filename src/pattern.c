/*-------------------------------------------------------------------------
 *
 * pattern.c
 *	  Key patterns such as 'props:{fixture_id}:{category}', and templates
 *	  that are filled from a key's parts.
 *
 * Layer 3.  Knows nothing of endpoints, tables or shared memory.
 *
 * A pattern's segments stand between its colons.  Each is a literal as a
 * whole or a parameter as a whole, so a key is matched part by part, and the
 * number of literals says how specific a pattern is.
 *
 * A template's parameters may stand anywhere in its text.  Filled for a URL,
 * a part can only ever become data: every byte outside RFC 3986's unreserved
 * set is percent-encoded, and the dot segments "." and ".." too, which a
 * client would otherwise resolve.
 *
 * Everything a user wrote is checked once, by wbc_pattern_parse() and
 * wbc_pattern_check_template(); the other functions rely on that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "key.h"
#include "mb/pg_wchar.h"
#include "pattern.h"

typedef enum PieceKind
{
	PIECE_TEXT,
	PIECE_PARAM,				/* text is what stands between the braces */
	PIECE_BROKEN				/* a brace that has no partner */
} PieceKind;

typedef struct Piece
{
	PieceKind	kind;
	const char *text;			/* points into the template */
	int			len;
} Piece;

bool
wbc_pattern_has_control(const char *text)
{
	for (const char *c = text; *c; c++)
		if (wbc_key_is_control(*c))
			return true;
	return false;
}

/* ----------------------------------------------------------------
 * Patterns
 * ----------------------------------------------------------------
 */

static void refuse_pattern(const char *source, const char *detail,
						   const char *hint) pg_attribute_noreturn();

/* The detail and the hint are ready to be shown. */
static void
refuse_pattern(const char *source, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid pattern \"%s\"", source),
			 errdetail_internal("%s", detail),
			 errhint("%s", hint)));
}

/* What can't be printed in full, or can't be printed at all. */
static void
check_pattern_text(const char *source)
{
	if (source[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("pattern is empty"),
				 errhint("Give a pattern such as 'props:categories:{fixture_id}'.")));
	if (strlen(source) > WBC_KEY_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("pattern is too long"),
				 errdetail("It has %zu bytes; the limit is %d.",
						   strlen(source), WBC_KEY_MAX),
				 errhint("Shorten the pattern.")));
	if (wbc_pattern_has_control(source))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("pattern contains a control character"),
				 errhint("Remove line breaks, tabs and other control characters from the pattern.")));
}

static bool
is_param_name(const char *text, int len)
{
	if (len == 0 || (text[0] >= '0' && text[0] <= '9'))
		return false;
	for (int i = 0; i < len; i++)
		if (!((text[i] >= 'a' && text[i] <= 'z') || text[i] == '_' ||
			  (text[i] >= '0' && text[i] <= '9')))
			return false;
	return true;
}

/* Index of the segment with this parameter, or -1. */
static int
find_param(const WbcPattern *pattern, const char *name, int len)
{
	for (int i = 0; i < pattern->nsegments; i++)
	{
		const WbcSegment *segment = &pattern->segments[i];

		if (segment->is_param && segment->len == len &&
			memcmp(segment->text, name, len) == 0)
			return i;
	}
	return -1;
}

static void
add_param(WbcPattern *pattern, const char *name, int len)
{
	WbcSegment *segment = &pattern->segments[pattern->nsegments];

	if (!is_param_name(name, len))
		refuse_pattern(pattern->source,
					   psprintf("\"%.*s\" is not a parameter name.", len, name),
					   "Start with a lower-case letter or an underscore, and go on with these and digits.");
	if (find_param(pattern, name, len) >= 0)
		refuse_pattern(pattern->source,
					   psprintf("Parameter \"%.*s\" appears twice.", len, name),
					   "Give each parameter a name of its own.");

	segment->is_param = true;
	segment->text = pnstrdup(name, len);
	segment->len = len;
	pattern->nsegments++;
}

static void
add_literal(WbcPattern *pattern, const char *text, int len)
{
	WbcSegment *segment = &pattern->segments[pattern->nsegments];

	if (len == 0)
		refuse_pattern(pattern->source,
					   psprintf("Segment %d is empty.", pattern->nsegments + 1),
					   "Put a literal or a parameter between any two colons, and none at the ends.");
	if (memchr(text, '{', len) != NULL || memchr(text, '}', len) != NULL)
		refuse_pattern(pattern->source,
					   psprintf("Segment \"%.*s\" is neither a literal nor a parameter.",
								len, text),
					   "A parameter takes a whole segment, as in 'props:{fixture_id}:{category}'.");

	segment->is_param = false;
	segment->text = pnstrdup(text, len);
	segment->len = len;
	pattern->nsegments++;
	pattern->nliterals++;
}

/*
 * Reads a pattern that a user wrote.  Its parts are allocated in the current
 * memory context.  Throws, with a hint, when it isn't one.
 */
void
wbc_pattern_parse(const char *source, WbcPattern *pattern)
{
	const char *start = source;

	check_pattern_text(source);

	memset(pattern, 0, sizeof(*pattern));
	pattern->source = pstrdup(source);
	for (;;)
	{
		int			len = strcspn(start, ":");

		if (pattern->nsegments >= WBC_SEGMENTS_MAX)
			refuse_pattern(source,
						   psprintf("It has more than %d segments.",
									WBC_SEGMENTS_MAX),
						   "Use fewer colons.");
		if (start[0] == '{' && start[len - 1] == '}' &&
			strcspn(start + 1, "{}") == len - 2)
			add_param(pattern, start + 1, len - 2);
		else
			add_literal(pattern, start, len);

		if (start[len] == '\0')
			return;
		start += len + 1;
	}
}

/*
 * Cuts a key at its colons.  Returns false when no pattern can match it: a
 * segment is empty, or there are too many.
 */
bool
wbc_pattern_split(const char *key, int len, WbcParts *parts)
{
	const char *end = key + len;

	parts->n = 0;
	for (const char *start = key;;)
	{
		const char *colon = memchr(start, ':', end - start);
		const char *stop = colon ? colon : end;

		if (stop == start || parts->n >= WBC_SEGMENTS_MAX)
			return false;
		parts->part[parts->n].start = start;
		parts->part[parts->n].len = stop - start;
		parts->n++;

		if (colon == NULL)
			return true;
		start = colon + 1;
	}
}

bool
wbc_pattern_matches(const WbcPattern *pattern, const WbcParts *parts)
{
	if (pattern->nsegments != parts->n)
		return false;
	for (int i = 0; i < parts->n; i++)
	{
		const WbcSegment *segment = &pattern->segments[i];

		if (!segment->is_param &&
			(segment->len != parts->part[i].len ||
			 memcmp(segment->text, parts->part[i].start, segment->len) != 0))
			return false;
	}
	return true;
}

/*
 * Is there a key that both match?
 */
bool
wbc_pattern_overlaps(const WbcPattern *a, const WbcPattern *b)
{
	if (a->nsegments != b->nsegments)
		return false;
	for (int i = 0; i < a->nsegments; i++)
		if (!a->segments[i].is_param && !b->segments[i].is_param &&
			strcmp(a->segments[i].text, b->segments[i].text) != 0)
			return false;
	return true;
}

/*
 * Is there a key that both match, and neither is the more literal one?
 */
bool
wbc_pattern_equal_right(const WbcPattern *a, const WbcPattern *b)
{
	return a->nliterals == b->nliterals && wbc_pattern_overlaps(a, b);
}

/* ----------------------------------------------------------------
 * Templates
 * ----------------------------------------------------------------
 */

/*
 * Takes the next piece off a template.  Returns false at its end.
 */
static bool
next_piece(const char **cursor, Piece *piece)
{
	const char *start = *cursor;

	if (*start == '\0')
		return false;

	piece->kind = PIECE_TEXT;
	piece->text = start;
	piece->len = strcspn(start, "{}");
	if (piece->len == 0)
	{
		int			inside = strcspn(start + 1, "{}");

		if (start[0] == '{' && start[1 + inside] == '}')
		{
			piece->kind = PIECE_PARAM;
			piece->text = start + 1;
			piece->len = inside;
			*cursor = start + inside + 2;
			return true;
		}
		piece->kind = PIECE_BROKEN;
		piece->len = 1;
	}
	*cursor = start + piece->len;
	return true;
}

/* A hint that lists the parameters a template may use. */
static int
hint_valid_params(const WbcPattern *pattern)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < pattern->nsegments; i++)
		if (pattern->segments[i].is_param)
			appendStringInfo(&names, "%s{%s}", names.len > 0 ? ", " : "",
							 pattern->segments[i].text);

	if (names.len == 0)
		return errhint("Pattern \"%s\" has no parameters: give a text without braces.",
					   pattern->source);
	return errhint("Valid parameters are: %s.", names.data);
}

/*
 * Throws unless every brace of the template belongs to a parameter of the
 * pattern.  "what" says what the template is for, as in "path".
 */
void
wbc_pattern_check_template(const WbcPattern *pattern, const char *what,
						   const char *template)
{
	const char *cursor = template;
	Piece		piece;

	while (next_piece(&cursor, &piece))
		switch (piece.kind)
		{
			case PIECE_TEXT:
				break;
			case PIECE_BROKEN:
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("unbalanced brace in %s \"%s\"", what, template),
						 errdetail("The brace at byte %d has no partner.",
								   (int) (piece.text - template) + 1),
						 hint_valid_params(pattern)));
				break;
			case PIECE_PARAM:
				if (find_param(pattern, piece.text, piece.len) < 0)
					ereport(ERROR,
							(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							 errmsg("unknown parameter {%.*s} in %s \"%s\"",
									piece.len, piece.text, what, template),
							 hint_valid_params(pattern)));
				break;
		}
}

static inline bool
is_unreserved(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		(c >= '0' && c <= '9') ||
		c == '-' || c == '.' || c == '_' || c == '~';
}

/*
 * Writes a key's part as data of a URL, which is UTF-8 whatever the
 * database's encoding is.
 */
static void
append_url_encoded(StringInfo out, const char *part, int len)
{
	static const char digits[] = "0123456789ABCDEF";
	bool		dots = (len == 1 && part[0] == '.') ||
		(len == 2 && part[0] == '.' && part[1] == '.');

	if (GetDatabaseEncoding() != PG_SQL_ASCII)
	{
		char	   *utf8 = pg_server_to_any(part, len, PG_UTF8);

		if (utf8 != part)
		{
			part = utf8;
			len = strlen(utf8);
		}
	}

	for (int i = 0; i < len; i++)
	{
		unsigned char c = part[i];

		if (is_unreserved(c) && !dots)
			appendStringInfoChar(out, c);
		else
		{
			appendStringInfoChar(out, '%');
			appendStringInfoChar(out, digits[c >> 4]);
			appendStringInfoChar(out, digits[c & 0x0F]);
		}
	}
}

/*
 * Appends the template to "out", with the parts of a key in place of its
 * parameters.  The key matches the pattern, and the template was checked
 * against it.
 */
void
wbc_pattern_fill(const WbcPattern *pattern, const WbcParts *parts,
				 const char *template, WbcFill fill, StringInfo out)
{
	const char *cursor = template;
	Piece		piece;

	while (next_piece(&cursor, &piece))
	{
		int			i;

		if (piece.kind == PIECE_TEXT)
		{
			appendBinaryStringInfo(out, piece.text, piece.len);
			continue;
		}

		i = find_param(pattern, piece.text, piece.len);
		if (piece.kind == PIECE_BROKEN || i < 0 || i >= parts->n)
			elog(ERROR, "template \"%s\" does not fit pattern \"%s\"",
				 template, pattern->source);
		switch (fill)
		{
			case WBC_FILL_PLAIN:
				appendBinaryStringInfo(out, parts->part[i].start,
									   parts->part[i].len);
				break;
			case WBC_FILL_URL:
				append_url_encoded(out, parts->part[i].start,
								   parts->part[i].len);
				break;
		}
	}
}
