// Passkeys. Without this file the pages work with a password and a code.
"use strict";
(() => {
  const toBytes = text => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), c => c.charCodeAt(0));
  const toText = buffer => btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  const send = async (path, body) => {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json" },
      body: JSON.stringify(body),
    });
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(said.problem || "That did not work. Try again.");
    return said;
  };

  const register = async at => {
    const options = await send(`${at}/passkey/challenge`, {});
    options.challenge = toBytes(options.challenge);
    options.user.id = toBytes(options.user.id);
    (options.excludeCredentials || []).forEach(known => { known.id = toBytes(known.id); });
    const made = await navigator.credentials.create({ publicKey: options });
    return send(`${at}/passkey`, {
      id: made.id,
      response: {
        clientDataJSON: toText(made.response.clientDataJSON),
        attestationObject: toText(made.response.attestationObject),
      },
    });
  };

  const signIn = async next => {
    const options = await send("/sign-in/passkey/challenge", {});
    options.challenge = toBytes(options.challenge);
    const said = await navigator.credentials.get({ publicKey: options });
    return send("/sign-in/passkey", {
      id: said.id,
      next,
      response: {
        clientDataJSON: toText(said.response.clientDataJSON),
        authenticatorData: toText(said.response.authenticatorData),
        signature: toText(said.response.signature),
        userHandle: said.response.userHandle ? toText(said.response.userHandle) : undefined,
      },
    });
  };

  const part = document.getElementById("passkey");
  if (!part || !window.PublicKeyCredential) return;
  const button = part.querySelector("button");
  const problem = part.querySelector("[role=alert]");
  part.hidden = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    problem.textContent = "";
    try {
      const said = part.dataset.register ? await register(part.dataset.register) : await signIn(part.dataset.next);
      window.location.assign(said.next);
    } catch (error) {
      // A browser's own words are no help; what we answered is.
      problem.textContent = error.name === "Error" ? error.message
        : "The passkey was not used. Try again, or use another way.";
      button.disabled = false;
    }
  });
})();
