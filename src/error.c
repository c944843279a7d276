/*-------------------------------------------------------------------------
 *
 * error.c
 *	  Filling in errors that travel through shared memory.
 *
 * Layer 1.  Texts that are too long are cut between characters.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "error.h"
#include "mb/pg_wchar.h"

static void
fill(char *to, Size size, const char *format, va_list args)
{
	int			len;

	(void) vsnprintf(to, size, format, args);
	len = pg_mbcliplen(to, strlen(to), size - 1);
	to[len] = '\0';
}

/*
 * Makes an error without detail and hint.
 */
void
wbc_error_set(WbcError *error, int sqlstate, const char *format,...)
{
	va_list		args;

	error->sqlstate = sqlstate;
	error->detail[0] = '\0';
	error->hint[0] = '\0';
	va_start(args, format);
	fill(error->message, sizeof(error->message), format, args);
	va_end(args);
}

void
wbc_error_detail(WbcError *error, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	fill(error->detail, sizeof(error->detail), format, args);
	va_end(args);
}

void
wbc_error_hint(WbcError *error, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	fill(error->hint, sizeof(error->hint), format, args);
	va_end(args);
}

/*
 * Takes over the error that was just thrown: to be called in PG_CATCH, with
 * CurrentMemoryContext set to one that survives.  The error state is clean
 * afterwards; the transaction, if there is one, is the caller's to abort.
 */
void
wbc_error_catch(WbcError *error)
{
	ErrorData  *thrown = CopyErrorData();

	FlushErrorState();
	wbc_error_set(error, thrown->sqlerrcode, "%s", thrown->message);
	if (thrown->detail != NULL)
		wbc_error_detail(error, "%s", thrown->detail);
	if (thrown->hint != NULL)
		wbc_error_hint(error, "%s", thrown->hint);
	FreeErrorData(thrown);
}

/*
 * Throws an error that came from elsewhere.
 */
void
wbc_error_throw(const WbcError *error)
{
	ereport(ERROR,
			(errcode(error->sqlstate),
			 errmsg_internal("%s", error->message),
			 error->detail[0] ? errdetail_internal("%s", error->detail) : 0,
			 error->hint[0] ? errhint("%s", error->hint) : 0));
}
