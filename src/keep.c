/*-------------------------------------------------------------------------
 *
 * keep.c
 *	  Shared memory that survives a clean restart.
 *
 * Layer 1.  Each piece is one file beside those of the statistics system,
 * written by the postmaster when all other processes have ended, and read and
 * removed when it starts: after a crash there must be none.  A checksum and the
 * size say whether the file is whole and of this build.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlogdefs.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "keep.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"

#define MAGIC	0x77626332

/* What precedes the piece in its file. */
typedef struct Header
{
	uint32		magic;
	pg_crc32c	crc;			/* of the piece */
	uint64		size;
	XLogRecPtr	shutdown;		/* the checkpoint that the server ended with */
} Header;

static void
path_of(const char *name, char *path)
{
	snprintf(path, MAXPGPATH, "%s/wbcache.%s",
			 PGSTAT_STAT_PERMANENT_DIRECTORY, name);
}

static pg_crc32c
checksum(const void *place, Size size)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, place, size);
	FIN_CRC32C(crc);
	return crc;
}

/*
 * Where the last checkpoint is.  Each run of the server ends with one, so a run
 * without our library, of whose invalidations we know nothing, has another.
 */
static XLogRecPtr
last_checkpoint(void)
{
	bool		is_good;
	ControlFileData *control = get_controlfile(DataDir, &is_good);
	XLogRecPtr	checkpoint = is_good ? control->checkPoint : InvalidXLogRecPtr;

	pfree(control);
	return checkpoint;
}

/*
 * Reads what was saved under this name, once.  Returns false, with anything in
 * place, when there is nothing good.
 */
bool
wbc_keep_load(const char *name, void *place, Size size)
{
	char		path[MAXPGPATH];
	Header		header;
	FILE	   *file;
	bool		good;

	path_of(name, path);
	file = AllocateFile(path, PG_BINARY_R);
	if (file == NULL)
		return false;
	good = fread(&header, sizeof(header), 1, file) == 1 &&
		header.magic == MAGIC && header.size == size &&
		header.shutdown == last_checkpoint() &&
		fread(place, size, 1, file) == 1 &&
		header.crc == checksum(place, size);
	FreeFile(file);
	(void) durable_unlink(path, LOG);
	return good;
}

/*
 * Saves a piece under a name.  A failure is logged, and costs what is in it.
 */
void
wbc_keep_save(const char *name, const void *place, Size size)
{
	Header		header = {.magic = MAGIC, .size = size,.shutdown = last_checkpoint()};
	char		path[MAXPGPATH];
	char		new[MAXPGPATH + 4];
	FILE	   *file;

	path_of(name, path);
	snprintf(new, sizeof(new), "%s.tmp", path);
	header.crc = checksum(place, size);
	file = AllocateFile(new, PG_BINARY_W);
	if (file == NULL ||
		fwrite(&header, sizeof(header), 1, file) != 1 ||
		fwrite(place, size, 1, file) != 1 ||
		FreeFile(file) != 0)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", new),
				 errdetail("What wbcache has cached will not be used after the restart.")));
	else
		(void) durable_rename(new, path, LOG);
}
