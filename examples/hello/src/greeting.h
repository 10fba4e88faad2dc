/* greeting: greets people in some of the world's languages. */
#ifndef GREETING_H
#define GREETING_H

#include <stddef.h>

struct greeting {
	const char *language; /* ISO 639-1 */
	const char *format;   /* for printf, with one %s for the name */
};

/* All the greetings there are, in the order of their languages' codes; the last one's language is NULL. */
extern const struct greeting greetings[];

/* Return the greeting of a language, or NULL if it has none here. */
const struct greeting *greeting_find(const char *language);

/*
 * Write the greeting of NAME into BUFFER and end it with a null byte. Like snprintf, return the length that
 * the whole greeting has, which did not fit if it is not smaller than SIZE. Negative if it cannot be written.
 */
int greeting_format(char *buffer, size_t size, const struct greeting *greeting, const char *name);

#endif
