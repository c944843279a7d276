/*-------------------------------------------------------------------------
 *
 * echo.c
 *	  Requests to the echo of the test upstream, which counts the requests of
 *	  a path: whatever was asked before ours has a lower number.
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stress.h"

static void
connect_to_upstream(Session *session)
{
	struct sockaddr_in place = {
		.sin_family = AF_INET,
		.sin_port = htons(options.echo_port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)
	};
	struct timeval limit = {30, 0};
	int			on = 1;

	session->echo = socket(AF_INET, SOCK_STREAM, 0);
	if (session->echo < 0 ||
		connect(session->echo, (struct sockaddr *) &place, sizeof(place)) != 0)
		die("could not connect to the test upstream");
	setsockopt(session->echo, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(session->echo, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

void
echo_open(Session *session)
{
	session->echo = -1;
	if (options.echo_port != 0)
		connect_to_upstream(session);
}

void
echo_close(Session *session)
{
	if (session->echo >= 0)
		close(session->echo);
}

/* Has the whole answer come?  Its body begins behind an empty line. */
static bool
is_complete(const char *answer, size_t length)
{
	const char *body = strstr(answer, "\r\n\r\n");
	const char *field = strcasestr(answer, "\r\ncontent-length:");

	if (body == NULL)
		return false;
	if (field == NULL || field > body)
		die("the test upstream's answer has no length: %.200s", answer);
	return answer + length >= body + 4 + atol(field + 17);
}

/* The number of a request for the key's path that is made now. */
int64_t
echo_ask(Session *session, int key)
{
	char		buffer[4096];
	size_t		length = 0;
	const char *n;
	int			sent = snprintf(buffer, sizeof(buffer),
								"GET /api/v3/echo/stress/%d HTTP/1.1\r\n"
								"Host: 127.0.0.1\r\nX-Api-Key: %s\r\n\r\n",
								key, options.echo_key);

	if (send(session->echo, buffer, sent, MSG_NOSIGNAL) != sent)
		die("could not send to the test upstream");
	do
	{
		ssize_t		got = recv(session->echo, buffer + length,
							   sizeof(buffer) - 1 - length, 0);

		if (got <= 0)
			die("no answer from the test upstream");
		length += got;
		buffer[length] = '\0';
	} while (!is_complete(buffer, length));

	n = strstr(buffer, "\"n\":");
	if (n == NULL)
		die("not an echo: %s", buffer);
	return strtoll(n + 4, NULL, 10);
}
