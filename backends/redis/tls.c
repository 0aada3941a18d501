/* TLS by hiredis_ssl, where the Makefile has found it (HAVE_HIREDIS_SSL). */
#include "backends/redis/tls.h"

#include <stddef.h>

#ifdef HAVE_HIREDIS_SSL

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

bool redis_tls_available(struct error *error)
{
    (void)error;
    return true;
}

static bool refuse(struct error *error, const char *why)
{
    return error_set(error, ERROR_TLS, NULL, "cannot begin TLS", NULL, "%s", why);
}

/* redisInitiateSSL takes over the SSL, which outlives its context by reference. */
bool redis_tls_begin(struct redisContext *context, const char *name, struct error *error)
{
    struct in6_addr address;
    SSL_CTX *settings = SSL_CTX_new(TLS_client_method());
    if (!settings)
        return refuse(error, "OpenSSL gives no context");
    SSL_CTX_set_verify(settings, SSL_VERIFY_PEER, NULL);
    SSL *ssl = SSL_CTX_set_default_verify_paths(settings) == 1 ? SSL_new(settings) : NULL;
    SSL_CTX_free(settings);
    if (!ssl)
        return refuse(error, "the system's certificates cannot be read");
    bool is_address = inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1;
    bool good = is_address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1
                           : SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
    if (good && redisInitiateSSL(context, ssl) == REDIS_OK)
        return true;
    SSL_free(ssl);
    return refuse(error, context->err ? context->errstr : "the name cannot be checked");
}

#else

bool redis_tls_available(struct error *error)
{
    return error_set(
        error, ERROR_UNSUPPORTED, NULL, "cannot speak TLS",
        "Reach it through SSH (`via: HOST` with redis://), through stunnel, or build with hiredis 1.0 "
        "or newer and its hiredis_ssl",
        "the hiredis that signalbox was built with has no TLS");
}

bool redis_tls_begin(struct redisContext *context, const char *name, struct error *error)
{
    (void)context, (void)name;
    return redis_tls_available(error);
}

#endif
