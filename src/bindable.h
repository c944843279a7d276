/*-------------------------------------------------------------------------
 *
 * bindable.h
 *	  What can be bound: a user's table, and the columns that it must have.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WBC_BINDABLE_H
#define WBC_BINDABLE_H

/* A table that is being bound. */
typedef struct WbcBindable
{
	Oid			oid;
	Oid			owner;
	char	   *name;			/* quoted, with its schema */
} WbcBindable;

/* What an argument that names a column must be like. */
typedef struct WbcBindableRule
{
	bool		(*fits) (Oid type);
	const char *types;			/* those that do, in words */
} WbcBindableRule;

extern const WbcBindableRule wbc_bindable_label;
extern const WbcBindableRule wbc_bindable_moment;
extern const WbcBindableRule wbc_bindable_price;

extern void wbc_bindable_open(Oid oid, WbcBindable *table);
extern char *wbc_bindable_column(const WbcBindable *table, const char *argument,
								 const char *name, const WbcBindableRule *rule,
								 Oid *base);

#endif							/* WBC_BINDABLE_H */
